// One ping, with a finer clock than the library's whole milliseconds. A stream for each ping:
// over QUIC, rust-libp2p does not answer a second one until something else wakes the connection.
import { randomBytes } from 'node:crypto'
import { ByteStream } from './stream.mjs'

const PING = '/ipfs/ping/1.0.0'
const LENGTH = 32

// The round trip in milliseconds, without opening the stream.
export async function ping(connection, signal) {
  const stream = await connection.newStream(PING, { signal })
  const bytes = new ByteStream(stream, signal)
  const sent = randomBytes(LENGTH)
  const start = performance.now()
  stream.send(sent)
  const received = await bytes.exactly(LENGTH)
  const elapsed = performance.now() - start
  await stream.close({ signal })
  if (!received.equals(sent)) throw new Error('the pong differs from the ping')
  return elapsed
}
