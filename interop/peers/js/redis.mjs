// As much of the Redis protocol as the suite needs: one command at a time.
import { connect } from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'

const RETRY_MS = 100

export class Redis {
  #buffer = Buffer.alloc(0)

  constructor(socket) {
    this.socket = socket
    socket.on('data', (data) => {
      this.#buffer = Buffer.concat([this.#buffer, data])
    })
  }

  // Waits until the server answers.
  static async connect(address) {
    const [host, port] = address.split(':')
    for (;;) {
      const socket = connect(Number(port), host)
      try {
        await once(socket, 'connect')
        return new Redis(socket)
      } catch {
        await sleep(RETRY_MS)
      }
    }
  }

  async call(...words) {
    const parts = words.map((w) => `$${Buffer.byteLength(String(w))}\r\n${w}\r\n`)
    this.socket.write(`*${words.length}\r\n${parts.join('')}`)
    return this.#reply()
  }

  async #reply() {
    const line = (await this.#take((b) => b.indexOf('\r\n'))).toString()
    const value = line.slice(1)
    if (line[0] === '-') throw new Error(`redis: ${value}`)
    if (line[0] === '+') return value
    if (line[0] === ':') return Number(value)
    const length = Number(value)
    if (length < 0) return null
    if (line[0] === '$') {
      return (await this.#take((b) => (b.length >= length + 2 ? length : -1))).toString()
    }
    const items = []
    for (let i = 0; i < length; i++) items.push(await this.#reply())
    return items
  }

  // The bytes before the position that `find` names; the line end behind them goes too.
  async #take(find) {
    let end
    while ((end = find(this.#buffer)) < 0) {
      const closed = once(this.socket, 'close').then(() => {
        throw new Error('redis closed the connection')
      })
      await Promise.race([once(this.socket, 'data'), closed])
    }
    const taken = this.#buffer.subarray(0, end)
    this.#buffer = this.#buffer.subarray(end + 2)
    return taken
  }
}
