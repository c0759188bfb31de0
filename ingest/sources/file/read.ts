/** Reads a file once, from a checkpoint to its end: plain or gzip, any container, in bounded memory. */
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { messageOf, PermanentError, TransientError } from '../../../runtime/errors.ts'
import type { Logger } from '../../../runtime/log.ts'
import type { Page, RawRecord } from '../../source.ts'
import { type Container, type ContainerChoice, detectContainer, unpack } from './container.ts'
import { type FileCheckpoint, identify, isSameFile, inodeOf } from './identity.ts'
import { jsonSplitter, lineSplitter, type Piece, rowSplitter, type Splitter } from './split.ts'

export const CHUNK_BYTES = 256 * 1024
const HEAD_BYTES = 64 * 1024
const PAGE_RECORDS = 1000
const PAGE_CHARACTERS = 4_000_000

export interface ReadOptions {
  container: ContainerChoice
  log: Logger
}

/** The last page has `done`. Throws PermanentError when the file is missing or may not be read. */
export async function* readOnce(path: string, after: FileCheckpoint | undefined, options: ReadOptions, signal: AbortSignal): AsyncGenerator<Page<FileCheckpoint>> {
  const handle = await openFile(path)
  try {
    const here = await identify(handle)
    const known = after !== undefined && (await isSameFile(handle, after, (await inodeOf(handle)).size))
    const start = known ? after.offset : 0
    yield* pagesOf(chunksOf(handle, options.log, path, signal), path, here, start, options, signal)
  } finally {
    await handle.close()
  }
}

const STDIN: FileCheckpoint = { inode: '', head_bytes: 0, head_sha256: '', offset: 0 }

/** The same for standard input, which has no place to go back to. */
export const readInput = (input: Readable, options: ReadOptions, signal: AbortSignal): AsyncGenerator<Page<FileCheckpoint>> =>
  pagesOf(unpacked(input as AsyncIterable<Buffer>, options.log, '-'), '-', STDIN, 0, options, signal)

/** Throws PermanentError that says what to do; a busy system (too many open files) is transient. */
export async function openFile(path: string): Promise<FileHandle> {
  try {
    const handle = await open(path, 'r')
    if ((await handle.stat()).isDirectory()) {
      await handle.close()
      throw new PermanentError(`${path} is a folder: name its files, or use a pattern such as ${path}/*.jsonl`)
    }
    return handle
  } catch (error) {
    if (error instanceof PermanentError) throw error
    const { code } = error as { code?: string }
    if (code === 'ENOENT') throw new PermanentError(`the file ${path} does not exist`, { cause: error })
    if (code === 'EACCES' || code === 'EPERM') throw new PermanentError(`the file ${path} may not be read by this user: grant read permission`, { cause: error })
    throw new TransientError(`the file ${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }
}

/** Skips what lies before `start` by counting: only line containers could seek, and unpacking costs less than being wrong. */
async function* pagesOf(
  chunks: AsyncIterable<Buffer>,
  path: string,
  here: FileCheckpoint,
  start: number,
  options: ReadOptions,
  signal: AbortSignal,
): AsyncGenerator<Page<FileCheckpoint>> {
  let reader: PieceReader | undefined
  let head: Buffer = Buffer.alloc(0)
  let next: FileCheckpoint = { ...here, offset: start }
  const pages = (pieces: readonly Piece[], container: Container): Iterable<Page<FileCheckpoint>> =>
    pagesOfPieces(start === 0 ? pieces : pieces.filter((piece) => piece.end > start), container, path, here)
  for await (const chunk of chunks) {
    if (signal.aborted) return
    if (reader === undefined) {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
      if (head.length < HEAD_BYTES) continue
    }
    const first = reader === undefined ? head : chunk
    reader ??= openPieces(head, path, options.container)
    for (const page of pages(reader.splitter.push(first), reader.container)) {
      next = page.next
      yield page
      if (signal.aborted) return
    }
  }
  if (signal.aborted) return
  const pieces: Piece[] = []
  if (reader === undefined && head.length > 0) {
    reader = openPieces(head, path, options.container)
    pieces.push(...reader.splitter.push(head))
  }
  pieces.push(...(reader?.splitter.finish() ?? []))
  for (const page of pages(pieces, reader?.container ?? { kind: 'lines' })) {
    next = page.next
    yield page
  }
  yield { records: [], next, done: true }
}

export interface PieceReader {
  container: Container
  splitter: Splitter
}

const BOM = '\ufeff'

/** `head`: the first bytes of the stream, still to be pushed. */
export function openPieces(head: Buffer, path: string, choice: ContainerChoice, start = 0): PieceReader {
  const text = head.subarray(0, HEAD_BYTES).toString('utf8')
  const container = detectContainer(text.startsWith(BOM) ? text.slice(1) : text, path, choice)
  return { container, splitter: splitterOf(container, start) }
}

function splitterOf(container: Container, start: number): Splitter {
  if (container.kind === 'lines') return lineSplitter(start)
  return container.kind === 'csv' ? rowSplitter(start) : jsonSplitter(start, container.records)
}

/** Pages end between pieces, so that a checkpoint never points into an envelope. Each is made when it is asked for: short rows give many. */
export function* pagesOfPieces(pieces: readonly Piece[], container: Container, path: string, here: FileCheckpoint): Generator<Page<FileCheckpoint>> {
  const origin = { source: 'file', stream: path }
  let records: RawRecord[] = []
  let characters = 0
  for (const [index, { text, end }] of pieces.entries()) {
    let part = 0
    for (const { id, at, body, stream } of unpack(text.startsWith(BOM) ? text.slice(1) : text, container)) {
      const of = stream === null ? origin : { source: 'file', stream }
      records.push({ id: id ?? (part === 0 ? `${end}` : `${end}.${part}`), at, ingested_at: null, body, origin: of })
      characters += body.length
      part++
    }
    if (records.length < PAGE_RECORDS && characters < PAGE_CHARACTERS && index < pieces.length - 1) continue
    yield { records, next: { ...here, offset: end } }
    records = []
    characters = 0
  }
}

async function* chunksOf(handle: FileHandle, log: Logger, path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const raw = async function* (): AsyncGenerator<Buffer> {
    for (let position = 0; !signal.aborted;) {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
      const { bytesRead } = await handle.read(buffer, 0, CHUNK_BYTES, position)
      if (bytesRead === 0) return
      position += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }
  yield* unpacked(raw(), log, path)
}

/** gzip is told by its first two bytes, not by the name. A cut archive gives what is in it. */
async function* unpacked(chunks: AsyncIterable<Buffer>, log: Logger, path: string): AsyncGenerator<Buffer> {
  const iterator = chunks[Symbol.asyncIterator]()
  let first = await iterator.next()
  while (first.done !== true && first.value.length < 2) {
    const more = await iterator.next()
    if (more.done === true) break
    first = { done: false, value: Buffer.concat([first.value, more.value]) }
  }
  if (first.done === true) return
  const begin = first.value
  const rest = async function* (): AsyncGenerator<Buffer> {
    yield begin
    yield* { [Symbol.asyncIterator]: () => iterator }
  }
  yield* begin[0] === 0x1f && begin[1] === 0x8b ? gunzip(rest(), log, path) : rest()
}

async function* gunzip(chunks: AsyncIterable<Buffer>, log: Logger, path: string): AsyncGenerator<Buffer> {
  const stream = createGunzip({ chunkSize: CHUNK_BYTES })
  const feeding = (async () => {
    for await (const chunk of chunks) {
      if (stream.destroyed) return
      if (!stream.write(chunk)) await new Promise<void>((resolve) => stream.once('drain', resolve).once('close', resolve))
    }
    stream.end()
  })()
  // Its failure is seen below, as a failure of the stream.
  feeding.catch((error: unknown) => stream.destroy(error instanceof Error ? error : new Error(String(error))))
  try {
    for await (const chunk of stream) yield chunk as Buffer
  } catch (error) {
    const { code } = error as { code?: string }
    if (code === undefined || !code.startsWith('Z_')) throw error
    log.warn('a gzip file is cut or damaged: its readable part was taken', { file: path, error: messageOf(error) })
  } finally {
    stream.destroy()
  }
}
