// A js-libp2p message stream as bytes: one reader and one writer at a time.
//
// Two parts of the library's own face are not used. Its async iterator waits forever if the
// remote's end arrived before the iteration began. Its `onDrain` waits only the first time;
// whatever is sent after that piles up and leaves in frames as large as the window, which rust
// refuses above 1 MiB.
export class ByteStream {
  #chunks = []
  #waiting = []

  constructor(stream, signal) {
    this.stream = stream
    const fail = (error) => {
      this.error = error
      this.#wake()
    }
    stream.addEventListener('message', ({ data }) => {
      this.#chunks.push(data.subarray())
      this.#wake()
    })
    stream.addEventListener('remoteCloseWrite', () => this.#wake())
    stream.addEventListener('drain', () => this.#wake())
    stream.addEventListener('close', ({ error }) => fail(error))
    signal?.addEventListener('abort', () => fail(signal.reason))
  }

  #wake() {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }

  #event() {
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  // Returns when there is room for more.
  async send(data) {
    if (this.stream.send(data)) return
    do {
      await this.#event()
      if (this.error != null) throw this.error
      if (this.stream.status !== 'open') throw new Error(`the stream is ${this.stream.status}`)
    } while (this.stream.writableNeedsDrain)
  }

  // The next chunk, or null at the end; throws when the stream was reset.
  async chunk() {
    for (;;) {
      if (this.#chunks.length > 0) return this.#chunks.shift()
      if (this.error != null) throw this.error
      const { stream } = this
      const ended = stream.remoteWriteStatus === 'closed' || stream.status !== 'open'
      if (ended && stream.readBufferLength === 0) return null
      await this.#event()
    }
  }

  async exactly(length) {
    const parts = []
    let missing = length
    while (missing > 0) {
      const chunk = await this.chunk()
      if (chunk === null) throw new Error(`stream ended, ${missing} bytes missing`)
      parts.push(chunk.subarray(0, missing))
      if (chunk.length > missing) this.#chunks.unshift(chunk.subarray(missing))
      missing -= Math.min(chunk.length, missing)
    }
    return Buffer.concat(parts)
  }
}
