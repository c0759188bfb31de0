/** The rescans that are being done, and where each of them is. They outlive a throw, not the process. */
import type { Comparison, Range } from './compare.ts'
import { dueReread, type ScanSettings, type ScanState, type ScanWindow, slicesOf } from './scan.ts'

/** `again`: it was read before, and a part of it was not what had been published. */
type Slice = Range & { again?: boolean }

export interface Reread {
  window: ScanWindow
  /** The first one is being read. */
  left: Slice[]
  /** What was found in it, and the token of its next page. */
  pass?: { comparison: Comparison; token: string | undefined } | undefined
  /** Pages that were read, with those of the shorter ones in between. */
  pages: number
  /** So many pages it has to read before a shorter one may come in between again. */
  owed: number
}

export class Rereads {
  /** Each is shorter than those before it, which wait. */
  readonly #stack: Reread[] = []

  get running(): boolean {
    return this.#stack.length > 0
  }

  begin(window: ScanWindow): void {
    this.#stack.push({ window, left: slicesOf(window), pages: 0, owed: 0 })
  }

  /** The one to go on with: a shorter one that is overdue comes before a longer one that is being done, but never takes more than half of the pages. */
  next(state: ScanState, now: number, settings: ScanSettings): Reread | undefined {
    const last = this.#stack.at(-1)
    if (last !== undefined && last.owed > 0) return last
    const window = dueReread(state, now, settings, last?.window.tier)
    if (window !== undefined) this.begin(window)
    return this.#stack.at(-1)
  }

  /** From here on minutes must stay apart: ranges that are read again are no whole hours. */
  get apart_from(): number {
    return Math.min(...this.#stack.flatMap(({ left }) => left.filter(({ again }) => again === true).map(({ from }) => from)))
  }

  readPage(reread: Reread): void {
    reread.pages++
    reread.owed--
  }

  /** The last one has come to its end. */
  end(): void {
    const ended = this.#stack.pop()
    const below = this.#stack.at(-1)
    if (ended === undefined || below === undefined) return
    below.owed = ended.pages
    below.pages += ended.pages
  }

  forget(): void {
    this.#stack.length = 0
  }
}
