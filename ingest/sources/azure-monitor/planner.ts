/** What to ask next. Pure: windows of ingestion time in, windows out. */

/** Epoch ms of ingestion time, half-open; `part`: of its rows those whose hash modulo `of` is `index`. */
export interface Window {
  from: number
  to: number
  part?: { of: number; index: number }
}

/** What the service counted in one bin of ingestion time. */
export interface Bin {
  from: number
  to: number
  rows: number
  /** 0: not measured. */
  bytes: number
}

/** What one answer may hold, with room below the limits of the service. */
export interface Caps {
  rows: number
  bytes: number
}

export const SECOND = 1000
/** Enough for a second with 4,096 × the row cap; more is a mistake somewhere. */
export const MOST_PARTS = 4096

export const exceeds = (counted: { rows: number; bytes: number }, caps: Caps): boolean => counted.rows > caps.rows || counted.bytes > caps.bytes

/**
 * Bins that changed, joined as long as they stay below the caps: in a quiet table one request reads hours. `bins` in order of
 * time. A bin that did not change is never read again; an empty one does not part its neighbours.
 */
export function planReads(bins: readonly Bin[], changed: (bin: Bin) => boolean, caps: Caps): { window: Window; rows: number; bytes: number }[] {
  const reads: { window: Window; rows: number; bytes: number }[] = []
  let open: { window: Window; rows: number; bytes: number } | undefined
  for (const bin of bins) {
    if (bin.rows === 0) continue
    if (!changed(bin)) {
      open = undefined
      continue
    }
    const joined = { rows: (open?.rows ?? 0) + bin.rows, bytes: (open?.bytes ?? 0) + bin.bytes }
    if (open !== undefined && !exceeds(joined, caps)) {
      open.window = { from: open.window.from, to: bin.to }
      Object.assign(open, joined)
      continue
    }
    open = { window: { from: bin.from, to: bin.to }, rows: bin.rows, bytes: bin.bytes }
    reads.push(open)
  }
  return reads
}

/** The two halves of a window, down to a second; then by hash of the row. undefined: it cannot be made smaller. */
export function split({ from, to, part }: Window): [Window, Window] | undefined {
  const half = from + Math.floor((to - from) / (2 * SECOND)) * SECOND
  if (part === undefined && half > from) {
    return [
      { from, to: half },
      { from: half, to },
    ]
  }
  // h mod n = k  ⇔  h mod 2n is k or k + n: parts are halved without asking for the others again.
  const { of, index } = part ?? { of: 1, index: 0 }
  if (of * 2 > MOST_PARTS) return undefined
  return [
    { from, to, part: { of: of * 2, index } },
    { from, to, part: { of: of * 2, index: index + of } },
  ]
}
