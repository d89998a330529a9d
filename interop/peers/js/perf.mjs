// The perf protocol of the specification: a big-endian u64 of bytes wanted back, the upload, its
// end, then the download.
import { ByteStream } from './stream.mjs'

export const PERF = '/perf/1.0.0'
const BLOCK = 65536

async function sendZeros(bytes, count, write = BLOCK) {
  const block = new Uint8Array(write)
  for (let left = count; left > 0; left -= write) {
    await bytes.send(left < write ? block.subarray(0, left) : block)
  }
}

async function drain(bytes) {
  let count = 0
  for (let chunk; (chunk = await bytes.chunk()) !== null; ) count += chunk.length
  return count
}

export async function servePerf(stream) {
  try {
    const bytes = new ByteStream(stream)
    const wanted = (await bytes.exactly(8)).readBigUInt64BE()
    await drain(bytes)
    await sendZeros(bytes, Number(wanted))
    await stream.close()
  } catch (error) {
    stream.abort(error)
  }
}

export async function transfer(connection, up, down, signal, write = BLOCK) {
  const start = performance.now()
  const stream = await connection.newStream(PERF, { signal })
  const bytes = new ByteStream(stream, signal)
  const header = Buffer.alloc(8)
  header.writeBigUInt64BE(BigInt(down))
  await bytes.send(header)
  await sendZeros(bytes, up, write)
  await stream.close({ signal })
  const first = await bytes.chunk()
  const uploaded = performance.now()
  const received = (first?.length ?? 0) + (await drain(bytes))
  const end = performance.now()
  if (received !== down) throw new Error(`received ${received} bytes instead of ${down}`)
  return {
    upload_bytes: up,
    download_bytes: down,
    upload_seconds: (uploaded - start) / 1000,
    download_seconds: (end - uploaded) / 1000,
    seconds: (end - start) / 1000
  }
}
