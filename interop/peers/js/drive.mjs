// A node that does what standard input asks for: relays, AutoNAT and the DHT. A JSON object a line,
// each answered with a line.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { autoNAT } from '@libp2p/autonat'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { ECHO } from './echo.mjs'
import { kad, obey as obeyKad } from './kad.mjs'
import { Unsupported, createNode, listenAddress } from './node.mjs'
import { ByteStream } from './stream.mjs'

const LOOK_AGAIN_MS = 20
const PIECE = 4096 // bytes of an echo that are on the way at once

const PARTS = {
  relay: {}, // every driven node is a client of relays
  'relay-service': { relay: circuitRelayServer() },
  'autonat-v1': { autonatV1: autoNAT() },
  'autonat-v2': { autonatV2: autoNATv2() },
  dht: { dht: kad(false) },
  'dht-client': { dht: kad(true) }
}

const isRelayed = (address) => address.getComponents().some((part) => part.name === 'p2p-circuit')

export async function drive(options) {
  const parts = options.with.split(',').filter((part) => part !== '')
  for (const part of parts) {
    if (!Object.hasOwn(PARTS, part)) throw new Unsupported(`drive with ${part}`)
  }
  const node = await createNode(options, [listenAddress(options.transport, options.host)], {
    transports: [circuitRelayTransport()],
    services: Object.assign({}, ...parts.map((part) => PARTS[part]))
  })
  // Not node.getMultiaddrs(): a public address is no part of it before AutoNAT has confirmed it.
  const addresses = node.components.transportManager.getAddrs()
  print({ id: String(node.peerId), addresses: addresses.map((a) => `${a}/p2p/${node.peerId}`) })
  for await (const line of createInterface({ input: process.stdin })) {
    const signal = AbortSignal.timeout(options.timeout * 1000)
    try {
      print({ answer: await obey(node, JSON.parse(line), signal) })
    } catch (error) {
      print({ error: `${error.name}: ${error.message}` })
    }
  }
}

const print = (value) => process.stdout.write(JSON.stringify(value) + '\n')

async function obey(node, order, signal) {
  const peer = order.peer === undefined ? undefined : peerIdFromString(order.peer)
  switch (order.command) {
    case 'connect': {
      const connection = await node.dial(multiaddr(order.address), { signal })
      return node.getConnections(connection.remotePeer).map(describe)
    }
    case 'reserve':
      return reserve(node, multiaddr(order.address))
    case 'connections':
      return node.getConnections(peer).map(describe)
    case 'echo':
      return echo(node, peer, order.size, signal)
    case 'reachable':
      return reachable(node, order, signal)
    default:
      if (node.services.dht !== undefined) return obeyKad(node.services.dht, order, peer, signal)
      throw new Error(`no such command: ${order.command}`)
  }
}

function describe(connection) {
  return {
    address: String(connection.remoteAddr),
    inbound: connection.direction === 'inbound',
    limited: connection.limits !== undefined,
    seconds: connection.limits?.seconds ?? 0,
    bytes: Number(connection.limits?.bytes ?? 0),
    relayed: isRelayed(connection.remoteAddr)
  }
}

async function reserve(node, relay) {
  const { transportManager } = node.components
  await transportManager.listen([relay.encapsulate('/p2p-circuit')])
  const circuits = transportManager.getTransports().find((each) => each.reservationStore)
  const id = relay.getComponents().findLast((part) => part.name === 'p2p').value
  const { expire } = circuits.reservationStore.getReservation(peerIdFromString(id))
  return {
    expires: Number(expire), // of the limit the library keeps nothing
    addresses: transportManager.getAddrs().filter(isRelayed).map(String)
  }
}

async function echo(node, peer, size, signal) {
  const connections = node.getConnections(peer)
  const connection = connections.find((each) => !each.limits) ?? connections[0]
  const stream = await connection.newStream(ECHO, { signal, runOnLimitedConnection: true })
  const bytes = new ByteStream(stream, signal)
  for (let left = size; left > 0; left -= PIECE) {
    const piece = new Uint8Array(Math.min(left, PIECE))
    await bytes.send(piece)
    await bytes.exactly(piece.length)
  }
  await stream.close({ signal })
  return describe(connection)
}

// What the first server has said. A failure counts for the library only when eight have said so.
async function reachable(node, { address, version }, signal) {
  const { autonatV1, autonatV2 } = node.services
  const { dialResults } = version === 1 ? autonatV1 : autonatV2.client
  for (;;) {
    signal.throwIfAborted()
    const known = node.components.addressManager.getAddressesWithMetadata()
    const confirmed = known.some((each) => String(each.multiaddr) === address && each.verified)
    const { success = 0, failure = 0 } = dialResults.get(address) ?? {}
    if (confirmed || success > 0) return { reachable: true }
    if (failure > 0) return { reachable: false }
    await sleep(LOOK_AGAIN_MS)
  }
}
