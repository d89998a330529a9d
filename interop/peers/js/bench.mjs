// A dialer for the benchmark: a JSON object a line on standard input, each answered with a line.
import { createInterface } from 'node:readline'
import { multiaddr } from '@multiformats/multiaddr'
import { ECHO } from './echo.mjs'
import { MANY, createNode } from './node.mjs'
import { transfer } from './perf.mjs'
import { ByteStream } from './stream.mjs'

const PING = '/ipfs/ping/1.0.0'
const SMALL = new Uint8Array(32) // as a ping has
const TIMEOUT_MS = 120_000

const seconds = (since) => (performance.now() - since) / 1000

export class Bencher {
  #nodes = [] // each is a peer of its own

  constructor(options) {
    this.options = options
  }

  async run() {
    await this.#grow(1)
    for await (const line of createInterface({ input: process.stdin })) {
      const answer = await this.#answer(JSON.parse(line)).catch((error) => ({
        error: `${error.name}: ${error.message}`
      }))
      process.stdout.write(JSON.stringify(answer) + '\n')
    }
  }

  async #grow(count) {
    while (this.#nodes.length < count) this.#nodes.push(await createNode(this.options))
    return this.#nodes.slice(0, count)
  }

  async #answer(question) {
    const { command, count, at_once: atOnce } = question
    const address = multiaddr(question.address)
    const signal = AbortSignal.timeout(TIMEOUT_MS)
    if (command === 'dial' || command === 'connect') {
      const nodes = await this.#grow(atOnce)
      return timed(count, atOnce, async (worker) => {
        const connection = await nodes[worker].dial(address, { signal })
        if (command === 'dial') await exchange(await open(connection, PING, signal), SMALL)
        else await nodes[worker].services.identify.identify(connection, { signal })
        await connection.close({ signal })
      })
    }
    const connection = await this.#nodes[0].dial(address, { signal })
    try {
      switch (command) {
        case 'transfer':
          return await transfer(connection, question.up, question.down, signal, question.write)
        case 'ping':
          return await ping(connection, count, signal)
        case 'streams':
          return await timed(count, atOnce, async () => {
            const bytes = await open(connection, ECHO, signal)
            await exchange(bytes, SMALL)
            await bytes.stream.close({ signal })
          })
        case 'messages':
          return await messages(connection, question, signal)
        default:
          throw new Error(`no such command: ${command}`)
      }
    } finally {
      await connection.close({ signal })
    }
  }
}

async function open(connection, protocol, signal) {
  const stream = await connection.newStream(protocol, { signal, ...MANY })
  return new ByteStream(stream)
}

// Does it `count` times, by workers that run at once.
async function timed(count, workers, once) {
  let turns = 0
  const start = performance.now()
  const work = async (_, worker) => {
    while (turns++ < count) await once(worker)
  }
  await Promise.all(Array.from({ length: workers }, work))
  return { seconds: seconds(start), count }
}

// Sends the data and waits for as much.
async function exchange(bytes, data) {
  await bytes.send(data)
  await bytes.exactly(data.length)
}

async function ping(connection, count, signal) {
  const bytes = await open(connection, PING, signal)
  await exchange(bytes, SMALL)
  const times = []
  const begin = performance.now()
  for (let i = 0; i < count; i++) {
    const start = performance.now()
    await exchange(bytes, SMALL)
    times.push(seconds(start))
  }
  return { seconds: seconds(begin), times }
}

async function messages(connection, { size, count, pipelined }, signal) {
  const bytes = await open(connection, ECHO, signal)
  const request = new Uint8Array(size)
  await exchange(bytes, request)
  if (!pipelined) return timed(count, 1, () => exchange(bytes, request))
  const start = performance.now()
  const send = async () => {
    for (let i = 0; i < count; i++) await bytes.send(request)
  }
  const receive = async () => {
    for (let left = size * count; left > 0; ) {
      const chunk = await bytes.chunk()
      if (chunk === null) throw new Error('the echo ended')
      left -= chunk.length
    }
  }
  await Promise.all([send(), receive()])
  return { seconds: seconds(start), count }
}
