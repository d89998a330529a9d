// The DHT of a driven node: that of the internet, but for addresses of any kind, and knowing
// nobody to begin with.
import { setTimeout as sleep } from 'node:timers/promises'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ipnsSelector } from 'ipns/selector'
import { ipnsValidator } from 'ipns/validator'
import { CID } from 'multiformats/cid'
import { decode } from 'multiformats/hashes/digest'

const LOOK_AGAIN_MS = 20
const RAW = 0x55

export const kad = (clientMode) => kadDHT({
  protocol: '/ipfs/kad/1.0.0',
  clientMode,
  peerInfoMapper: passthroughMapper,
  allowQueryWithZeroPeers: true, // and so queries wait for no first look around
  validators: { ipns: ipnsValidator },
  selectors: { ipns: ipnsSelector }
})

const bytes = (digits) => new Uint8Array(Buffer.from(digits, 'hex'))
const cid = (key) => CID.createV1(RAW, decode(bytes(key)))
const describe = (peer) => ({ id: String(peer.id), addresses: peer.multiaddrs.map(String) })

// What has to do with the DHT.
export async function obey(dht, { command, key, value }, peer, signal) {
  const options = { signal }
  switch (command) {
    case 'table':
      return peers(dht).map(String)
    case 'known':
      while (!peers(dht).some((each) => each.equals(peer))) {
        signal.throwIfAborted()
        await sleep(LOOK_AGAIN_MS)
      }
      return {}
    case 'provide':
      await events(dht.provide(cid(key), options))
      return {}
    case 'find_providers': {
      const found = await events(dht.findProviders(cid(key), options), 'PROVIDER')
      const all = found.flatMap((event) => event.providers).map(describe)
      return [...new Map(all.map((each) => [each.id, each])).values()]
    }
    case 'put':
      await events(dht.put(bytes(key), bytes(value), options))
      return {}
    case 'get': {
      const [best] = await events(dht.get(bytes(key), options), 'VALUE')
      if (best === undefined) throw new Error('not found')
      return Buffer.from(best.value).toString('hex')
    }
    case 'find_peer': {
      const [found] = await events(dht.findPeer(peer, options), 'FINAL_PEER')
      if (found === undefined) throw new Error('not found')
      return describe(found.peer)
    }
    case 'closest': {
      const found = await events(dht.getClosestPeers(bytes(key), options), 'FINAL_PEER')
      return found.map((event) => String(event.peer.id))
    }
    default:
      throw new Error(`no such command: ${command}`)
  }
}

const peers = (dht) => [...dht.routingTable.kb.toIterable()].map((each) => each.peerId)

async function events(query, name) {
  const found = []
  for await (const event of query) {
    if (event.name === name) found.push(event)
  }
  return found
}
