/** Tails a file that is being written: by polling, through truncation and rotation, never past a line without its end. */
import type { FileHandle } from 'node:fs/promises'
import { open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Clock } from '../../../runtime/clock.ts'
import type { Page } from '../../source.ts'
import { type FileCheckpoint, identify, inodeOf, isSameFile } from './identity.ts'
import { CHUNK_BYTES, openFile, openPieces, pagesOfPieces, type PieceReader, type ReadOptions } from './read.ts'

export interface FollowOptions extends ReadOptions {
  clock: Clock
  /** Milliseconds between two looks at the file. */
  poll_ms: number
}

type FilePage = Page<FileCheckpoint>

/**
 * Never ends but by the signal. A page without records says at each look how far the file has been read. Throws PermanentError
 * when the file is missing at the start; later it may be missing for the moment of a rotation.
 */
export async function* follow(path: string, after: FileCheckpoint | undefined, options: FollowOptions, signal: AbortSignal): AsyncGenerator<FilePage> {
  let start = after
  let handle = await openFile(path)
  try {
    if (after !== undefined && !(await isSameFile(handle, after, (await inodeOf(handle)).size))) {
      yield* rotatedAway(path, after, options, signal)
      start = undefined
    }
    while (!signal.aborted) {
      const tail = new Tail(handle, path, options, await identify(handle), start)
      yield* tail.untilReplaced(signal)
      await handle.close()
      handle = await openFile(path)
      start = undefined
    }
  } finally {
    await handle.close().catch(() => {})
  }
}

/** One file from its checkpoint until another one stands at its path, or it was truncated. */
class Tail {
  readonly #handle: FileHandle
  readonly #path: string
  readonly #options: FollowOptions
  #here: FileCheckpoint
  #position: number
  #reader: PieceReader | undefined
  #next: FileCheckpoint

  constructor(handle: FileHandle, path: string, options: FollowOptions, here: FileCheckpoint, start: FileCheckpoint | undefined) {
    this.#handle = handle
    this.#path = path
    this.#options = options
    this.#here = here
    this.#position = start?.offset ?? 0
    this.#next = { ...here, offset: this.#position }
  }

  async *untilReplaced(signal: AbortSignal): AsyncGenerator<FilePage> {
    const { clock, poll_ms } = this.#options
    while (!signal.aborted) {
      // Asked before the look: what is written after it may be older than the look's end, but not than its begin.
      const looked_at = clock.now()
      yield* this.#newPages(signal)
      if (signal.aborted) return
      yield { records: [], next: this.#next, scanned_to: looked_at }
      await clock.sleep(poll_ms, signal)
      if (signal.aborted) return
      if (await this.#truncated()) return
      if (await this.#replaced()) {
        // The writer may have written a last line between our look and the rename.
        yield* this.#newPages(signal)
        yield* this.#rest()
        return
      }
    }
  }

  /** For a file that nobody writes any more: everything that is left, the last line too. */
  async *toEnd(signal: AbortSignal): AsyncGenerator<FilePage> {
    yield* this.#newPages(signal)
    if (!signal.aborted) yield* this.#rest()
  }

  async *#newPages(signal: AbortSignal): AsyncGenerator<FilePage> {
    while (!signal.aborted) {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
      const { bytesRead } = await this.#handle.read(buffer, 0, CHUNK_BYTES, this.#position)
      if (bytesRead === 0) return
      const chunk = buffer.subarray(0, bytesRead)
      if (this.#reader === undefined && !(await this.#open())) return
      this.#position += bytesRead
      yield* this.#pages(this.#reader?.splitter.push(chunk) ?? [])
    }
  }

  /** Waits for a whole first line: the container cannot be told from half of one. */
  async #open(): Promise<boolean> {
    this.#here = { ...(await identify(this.#handle)), offset: 0 }
    const head = Buffer.alloc(CHUNK_BYTES)
    const { bytesRead } = await this.#handle.read(head, 0, CHUNK_BYTES, 0)
    if (bytesRead < CHUNK_BYTES && !head.subarray(0, bytesRead).includes(0x0a)) return false
    // A file that grows is made of lines or rows: a JSON array that is not closed yet cannot be told from a cut one.
    const choice = this.#options.container === 'csv' ? 'csv' : this.#options.container
    const reader = openPieces(head.subarray(0, bytesRead), this.#path, choice, this.#position)
    this.#reader = reader.container.kind === 'json' ? openPieces(head.subarray(0, bytesRead), this.#path, 'lines', this.#position) : reader
    return true
  }

  *#pages(pieces: Parameters<typeof pagesOfPieces>[0]): Generator<FilePage> {
    for (const page of pagesOfPieces(pieces, this.#reader?.container ?? { kind: 'lines' }, this.#path, this.#here)) {
      this.#next = page.next
      yield page
    }
  }

  *#rest(): Generator<FilePage> {
    yield* this.#pages(this.#reader?.splitter.finish() ?? [])
  }

  async #replaced(): Promise<boolean> {
    try {
      const { dev, ino } = await stat(this.#path, { bigint: true })
      return `${dev}:${ino}` !== this.#here.inode
    } catch {
      return false // renamed and not there again yet
    }
  }

  /** Shorter than what was read, or begun anew with other content (copytruncate, `>` of a shell). */
  async #truncated(): Promise<boolean> {
    const { size } = await inodeOf(this.#handle)
    const gone = size < this.#position || !(await isSameFile(this.#handle, this.#here, size))
    if (gone) this.#options.log.info('a followed file was truncated: reading from its begin', { file: this.#path })
    return gone
  }
}

/** The file was rotated while nobody looked: reads the rest of it under its new name, and what was rotated after it. */
async function* rotatedAway(path: string, after: FileCheckpoint, options: FollowOptions, signal: AbortSignal): AsyncGenerator<FilePage> {
  const siblings = await siblingsOf(path)
  let found = false
  for (const sibling of siblings) {
    const handle = await open(sibling, 'r').catch(() => undefined)
    if (handle === undefined) continue
    try {
      const { inode, size } = await inodeOf(handle)
      const ours: boolean = !found && inode === after.inode && (await isSameFile(handle, after, size))
      if (!found && !ours) continue
      found = true
      yield* new Tail(handle, path, options, await identify(handle), ours ? after : undefined).toEnd(signal)
    } finally {
      await handle.close()
    }
  }
  if (!found && after.offset > 0)
    options.log.warn('a followed file was replaced while nobody watched and its old name is not here: lines written after the last checkpoint may be missing', { file: path })
}

/** Files whose name begins with that of `path`, oldest change first; not `path` itself, not packed ones. */
async function siblingsOf(path: string): Promise<string[]> {
  const folder = dirname(path)
  const current = await stat(path)
  const names = (await readdir(folder)).filter((name) => name.startsWith(basename(path)) && name !== basename(path) && !name.endsWith('.gz'))
  const files = await Promise.all(names.map(async (name) => ({ path: join(folder, name), stat: await stat(join(folder, name)).catch(() => undefined) })))
  return files
    .flatMap((file) => (file.stat?.isFile() && file.stat.ino !== current.ino ? [{ path: file.path, changed: file.stat.mtimeMs }] : []))
    .sort((a, b) => a.changed - b.changed || b.path.localeCompare(a.path, 'en', { numeric: true })) // app.log.2 is older than app.log.1
    .map((file) => file.path)
}
