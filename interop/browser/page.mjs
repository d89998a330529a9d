// A page that dials a node, asks who it is, pings it and exchanges bytes with it, and tells the
// server that it came from how that went. The parameters are in the page's address.
import { createLibp2p } from 'libp2p'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { webTransport } from '@libp2p/webtransport'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'

const PERF = '/perf/1.0.0'
const TRANSPORTS = { ws: webSockets, webtransport: webTransport }
const PIECE = 64 * 1024
// ms. Whoever opened the page sets the deadline; libp2p's own, of 1 to 10 s, end on a busy machine.
const PATIENCE = 600_000

async function perf (connection, up, down) {
  const stream = await connection.newStream(PERF)
  const head = new Uint8Array(8)
  new DataView(head.buffer).setBigUint64(0, BigInt(down))
  const send = async data => { if (!stream.send(data)) await stream.onDrain() }
  const sending = (async () => {
    await send(head)
    for (let left = up; left > 0; left -= PIECE) await send(new Uint8Array(Math.min(left, PIECE)))
    await stream.close()
  })()
  let received = 0
  for await (const data of stream) received += data.byteLength
  await sending
  return received
}

async function visit ({ address, transport, upload, download }) {
  const node = await createLibp2p({
    transports: [TRANSPORTS[transport]()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionManager: {
      dialTimeout: PATIENCE,
      addressDialTimeout: PATIENCE,
      outboundStreamProtocolNegotiationTimeout: PATIENCE,
      connectionCloseTimeout: PATIENCE
    },
    connectionMonitor: { enabled: false },
    services: {
      identify: identify({ runOnConnectionOpen: false, timeout: PATIENCE }),
      ping: ping({ timeout: PATIENCE })
    }
  })
  const connection = await node.dial(multiaddr(address))
  const { agentVersion, protocols } = await node.services.identify.identify(connection)
  const rtt = await node.services.ping.ping(connection.remotePeer)
  const received = await perf(connection, Number(upload), Number(download))
  const result = {
    peer: connection.remotePeer.toString(),
    address: connection.remoteAddr.toString(),
    agentVersion,
    protocols,
    rtt,
    received
  }
  await connection.close()
  await node.stop()
  return result
}

const report = body => fetch('/result', { method: 'POST', body: JSON.stringify(body) })
visit(Object.fromEntries(new URLSearchParams(location.search)))
  .then(report, error => report({ error: `${error.name}: ${error.message}`, stack: error.stack }))
