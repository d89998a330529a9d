// A small libp2p peer on js-libp2p. The contract is in ../README.md.
import { parseArgs } from 'node:util'
import { multiaddr } from '@multiformats/multiaddr'
import { Bencher } from './bench.mjs'
import { drive } from './drive.mjs'
import { Unsupported, createNode, listenAddress } from './node.mjs'
import { transfer } from './perf.mjs'
import { ping } from './ping.mjs'
import { Redis } from './redis.mjs'

const OPTIONS = {
  transport: { type: 'string', default: 'tcp' },
  security: { type: 'string', default: 'noise' },
  muxer: { type: 'string', default: 'yamux' },
  host: { type: 'string', default: '127.0.0.1' },
  with: { type: 'string', default: '' },
  timeout: { type: 'string', default: '30' },
  'upload-bytes': { type: 'string', default: '0' },
  'download-bytes': { type: 'string', default: '0' }
}

const PINGS = 3

const print = (value) => process.stdout.write(JSON.stringify(value) + '\n')

async function listen(options) {
  const node = await createNode(options, [listenAddress(options.transport, options.host)])
  print({ id: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
  await new Promise((resolve) => {
    process.stdin.on('end', resolve).resume()
    process.once('SIGTERM', resolve).once('SIGINT', resolve)
  })
}

async function dial(address, options) {
  const node = await createNode({ ...options, transport: transportOf(address) })
  const signal = AbortSignal.timeout(options.timeout * 1000)
  const start = performance.now()
  const connection = await node.dial(multiaddr(address), { signal })
  const connected = performance.now()
  const seen = await node.services.identify.identify(connection, { signal })
  const times = []
  for (let i = 0; i < PINGS; i++) times.push(await ping(connection, signal))
  print({
    id: connection.remotePeer.toString(),
    connect_ms: connected - start,
    ping_ms: times,
    agent: seen.agentVersion ?? null,
    protocols: seen.protocols
  })
}

async function perf(address, options) {
  const node = await createNode({ ...options, transport: transportOf(address) })
  const signal = AbortSignal.timeout(options.timeout * 1000)
  const connection = await node.dial(multiaddr(address), { signal })
  const up = Number(options['upload-bytes'])
  const down = Number(options['download-bytes'])
  print(await transfer(connection, up, down, signal))
}

function transportOf(address) {
  const names = multiaddr(address).getComponents().map((part) => part.name)
  if (names.includes('wss') || (names.includes('tls') && names.includes('ws'))) return 'wss'
  return ['ws', 'webtransport', 'webrtc-direct', 'quic-v1', 'tcp'].find((n) => names.includes(n))
}

// The transport suite: everything comes from the environment.
async function suite(env) {
  const options = {
    transport: env.TRANSPORT,
    security: env.SECURE_CHANNEL || 'noise',
    muxer: env.MUXER || 'yamux'
  }
  const timeout = Number(env.TEST_TIMEOUT_SECS) || 180
  const redis = await Redis.connect(env.REDIS_ADDR)
  const key = `${env.TEST_KEY}_listener_multiaddr`
  if (env.IS_DIALER !== 'true') {
    const address = listenAddress(options.transport, env.LISTENER_IP || '0.0.0.0')
    const node = await createNode(options, [address])
    const all = node.getMultiaddrs().map(String)
    await redis.call('DEL', key)
    await redis.call('RPUSH', key, all.find((a) => !a.includes('/127.0.0.1/')) ?? all[0])
    process.once('SIGTERM', () => process.exit(0))
    await new Promise((resolve) => setTimeout(resolve, timeout * 1000))
    throw new Error(`no dialer within ${timeout} s`)
  }
  const node = await createNode(options)
  const reply = await redis.call('BLPOP', key, timeout)
  if (reply === null) throw new Error(`no listener address within ${timeout} s`)
  const signal = AbortSignal.timeout(timeout * 1000)
  const start = performance.now()
  const connection = await node.dial(multiaddr(reply[1]), { signal })
  const rtt = await ping(connection, signal)
  const total = performance.now() - start
  const lines = [
    'latency:',
    `  handshake_plus_one_rtt: ${total.toFixed(3)}`,
    `  ping_rtt: ${rtt.toFixed(3)}`,
    '  unit: ms'
  ]
  process.stdout.write(lines.join('\n') + '\n')
}

async function main() {
  if (process.argv.length === 2) return suite(process.env)
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true })
  const [command, address] = positionals
  if (command === 'listen') return listen(values)
  if (command === 'bench') return new Bencher(values).run()
  if (command === 'drive') return drive(values)
  if (command === 'dial' && address) return dial(address, values)
  if (command === 'perf' && address) return perf(address, values)
  throw new Error('usage: listen | dial MULTIADDR | perf MULTIADDR | bench | drive')
}

const done = (code) => process.stdout.write('', () => process.exit(code))

main().then(
  () => done(0),
  (error) => {
    if (error instanceof Unsupported) {
      print({ unsupported: error.message })
      return done(2)
    }
    process.stderr.write(`${error.stack ?? error}\n`)
    for (const cause of error.errors ?? []) process.stderr.write(`  ${cause.stack ?? cause}\n`)
    process.stderr.write(`${error.name}: ${error.message}\n`)
    done(1)
  }
)
