/** A bug that is put into shipped code on purpose, to see whether the oracle sees it. */

export interface Plant {
  id: string
  /** The bug of somebody else that it is, or null. */
  after: string | null
  /** Path from the root of the repository. */
  file: string
  /** Stands exactly once in the file. */
  replace: string
  by: string
  cloud: 'cloudwatch' | 'azure'
  /** Seeds in which it must be caught. */
  within: number
}

/** Throws when the code has changed so that the bug can no longer be planted: then the plant must be renewed, not skipped. */
export function plantInto(source: string, { id, file, replace, by }: Plant): string {
  const parts = source.split(replace)
  if (parts.length !== 2) throw new Error(`plant ${id}: its text stands ${parts.length - 1} times in ${file}, it must stand once`)
  return parts.join(by)
}
