// The libp2p node that offers exactly one transport, security and muxer.
import { readFileSync } from 'node:fs'
import { createLibp2p } from 'libp2p'
import { quic } from '@chainsafe/libp2p-quic'
import { identify } from '@libp2p/identify'
import { mplex } from '@libp2p/mplex'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { selfSigned } from './certificate.mjs'
import { ECHO, serveEcho } from './echo.mjs'
import { PERF, servePerf } from './perf.mjs'

export class Unsupported extends Error {}

const TRANSPORTS = {
  tcp: { make: tcp, suffix: '/tcp/0' },
  ws: { make: webSockets, suffix: '/tcp/0/ws' },
  wss: { make: webSockets, suffix: '/tcp/0/tls/ws' },
  'quic-v1': { make: quic, suffix: '/udp/0/quic-v1', standalone: true }
}
const SECURITY = { noise, tls }
const MUXERS = { yamux, mplex }

// More than any test asks for. By default js-libp2p refuses more than 5 connections a second from
// one host, 10 that are being set up, 300 in all, 32 streams of a protocol on a connection, …
export const MANY = { maxInboundStreams: 20_000, maxOutboundStreams: 20_000 }
const CONNECTIONS = {
  inboundConnectionThreshold: 1_000_000,
  maxIncomingPendingConnections: 1000,
  maxConnections: 20_000
}

function offered(kind, table, name) {
  if (!Object.hasOwn(table, name)) throw new Unsupported(`${kind} ${name}`)
  return table[name]
}

export function listenAddress(transport, host) {
  const { suffix } = offered('transport', TRANSPORTS, transport)
  return `/${host.includes(':') ? 'ip6' : 'ip4'}/${host}${suffix}`
}

// `more` has what only drive wants: transports beside the chosen one, and services.
export async function createNode({ transport, security, muxer }, addresses = [], more = {}) {
  const { make, standalone } = offered('transport', TRANSPORTS, transport)
  const upgrade = {
    connectionEncrypters: [offered('security', SECURITY, security)()],
    streamMuxers: [offered('muxer', MUXERS, muxer)(MANY)]
  }
  // The certificate of a test listener is self-signed; the peer id is what counts.
  if (transport === 'wss') process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  const listening = addresses.length > 0
  const settings = transport === 'wss' && listening ? { https: await selfSigned() } : undefined
  const node = await createLibp2p({
    addresses: { listen: addresses },
    transports: [make(settings), ...(more.transports ?? [])],
    ...(standalone && !more.transports ? {} : upgrade),
    connectionGater: { denyDialMultiaddr: () => false },
    connectionManager: CONNECTIONS,
    connectionMonitor: { enabled: false },
    // A dialer asks once, itself: js-libp2p allows one identify stream at a time.
    services: {
      identify: identify({ runOnConnectionOpen: listening }),
      ping: ping(),
      ...more.services
    },
    nodeInfo: { userAgent: `js-libp2p/${libraryVersion()} node/${process.versions.node}` }
  })
  await node.handle(PERF, servePerf, MANY)
  await node.handle(ECHO, serveEcho, { ...MANY, runOnLimitedConnection: true })
  return node
}

function libraryVersion() {
  const path = new URL('./node_modules/libp2p/package.json', import.meta.url)
  return JSON.parse(readFileSync(path, 'utf8')).version
}
