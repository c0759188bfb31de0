import { describe, expect, it } from 'vitest'
import { murmur2, partitionOf } from './partition.ts'

describe('partitionOf', () => {
  it('hashes as the Java client does', () => {
    // Values of Utils.murmur2 in Kafka's own unit test.
    const known: [string, number][] = [
      ['21', -973932308],
      ['foobar', -790332482],
      ['a-little-bit-long-string', -985981536],
      ['a-little-bit-longer-string', -1486304829],
      ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
      ['abc', 479470107],
    ]
    for (const [text, hash] of known) expect([text, murmur2(Buffer.from(text))]).toEqual([text, hash])
  })

  it('stays in range and spreads keys', () => {
    const counts = [0, 0, 0, 0, 0, 0]
    for (let n = 0; n < 6_000; n++) {
      const partition = partitionOf(`key-${n}`, 6)
      counts[partition] = (counts[partition] ?? 0) + 1
    }
    expect(counts).toHaveLength(6)
    for (const count of counts) expect(count).toBeGreaterThan(800)
    expect(partitionOf('anything', 1)).toBe(0)
  })
})
