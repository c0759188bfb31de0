/** A progress bar, on terminals only; elsewhere nothing is written. */

export interface ProgressBar {
  update(done: number, total: number): void
  end(): void
}

const WIDTH = 30

export function progressBar(title: string, stream: NodeJS.WriteStream = process.stderr): ProgressBar {
  let last = ''
  return {
    update(done, total) {
      if (!stream.isTTY) return
      const share = total > 0 ? Math.min(1, done / total) : 0
      const filled = Math.round(share * WIDTH)
      const line = `${title} [${'█'.repeat(filled)}${'·'.repeat(WIDTH - filled)}] ${String(Math.floor(share * 100)).padStart(3)} %`
      if (line === last) return
      last = line
      stream.write(`\r${line}`)
    },
    end() {
      if (stream.isTTY && last !== '') stream.write('\r\u001b[K')
    },
  }
}
