/** Which file it is, whatever its name: rotated files change their name, truncated ones their content. */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'

/** Where to go on in which file. Offsets count unpacked bytes. */
export interface FileCheckpoint {
  /** Device and inode, as text: they may exceed 2^53. */
  inode: string
  /** Hash over the first `head_bytes` bytes: a new file may get the inode of a deleted one. */
  head_bytes: number
  head_sha256: string
  offset: number
}

const HEAD_BYTES = 256

export async function inodeOf(handle: FileHandle): Promise<{ inode: string; size: number }> {
  const { dev, ino, size } = await handle.stat({ bigint: true })
  return { inode: `${dev}:${ino}`, size: Number(size) }
}

/** The checkpoint of the begin of a file as it is now. */
export async function identify(handle: FileHandle): Promise<FileCheckpoint> {
  const { inode, size } = await inodeOf(handle)
  const head_bytes = Math.min(size, HEAD_BYTES)
  return { inode, head_bytes, head_sha256: await headHash(handle, head_bytes), offset: 0 }
}

/** Same content at the begin, and not shorter than what was read: a copy or a restored file goes on, too. */
export async function isSameFile(handle: FileHandle, checkpoint: FileCheckpoint, size: number): Promise<boolean> {
  return size >= checkpoint.head_bytes && (await headHash(handle, checkpoint.head_bytes)) === checkpoint.head_sha256
}

async function headHash(handle: FileHandle, bytes: number): Promise<string> {
  const buffer = Buffer.alloc(bytes)
  const { bytesRead } = await handle.read(buffer, 0, bytes, 0)
  return createHash('sha256').update(buffer.subarray(0, bytesRead)).digest('hex')
}
