// The echo of the benchmark: whatever comes is sent back.
import { ByteStream } from './stream.mjs'

export const ECHO = '/carrick/benchmarks/echo/1.0.0'

export async function serveEcho(stream) {
  try {
    const bytes = new ByteStream(stream)
    for (let chunk; (chunk = await bytes.chunk()) !== null; ) await bytes.send(chunk)
    await stream.close()
  } catch (error) {
    stream.abort(error)
  }
}
