import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../runtime/clock.ts'
import type { TopicName } from '../schemas/topics.ts'
import { type LogFile, openLogFile } from './embedded-log.ts'

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tokenwatch-log-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

function opened(directory: string): LogFile {
  const file = openLogFile(directory)
  onTestFinished(() => file.close())
  return file
}

const home = (file: LogFile, topic: TopicName): number => file.partitions.find((at) => at.topic === topic)?.id ?? 0
const series = (id: number, from: number, count: number) => Array.from({ length: count }, (_, n) => ({ id, key: null, value: `{"n":${from + n},"text":"${'x'.repeat(200)}"}` }))
const numbers = (read: readonly { value: string }[]): number[] => read.map(({ value }) => (JSON.parse(value) as { n: number }).n)
const upTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n)
const countRows = (file: LogFile, id: number): number => Number(file.side.prepare('select count(*) as rows from batches where partition_id = ?').get(id)?.['rows'])

describe('records of a row', () => {
  it('are read from any of them on, and up to any of them', () => {
    const file = opened(temporary())
    const id = home(file, 'usage.v1')
    for (const from of [0, 300, 301, 320]) file.append(series(id, from, from === 300 ? 1 : from === 301 ? 19 : 300), 1)
    expect(countRows(file, id)).toBe(4)
    for (const from of [0, 1, 150, 299, 300, 301, 302, 319, 320, 619, 620, 700]) {
      for (const limit of [1, 7, 150, 300, 1_000]) {
        const read = file.read(id, from, limit, 1e9)
        expect(numbers(read)).toEqual(upTo(from, Math.min(620, from + limit)))
        expect(read.map(({ offset }) => offset)).toEqual(numbers(read))
      }
    }
  })

  it('are read on where the last read stopped, by several readers in turn', () => {
    const file = opened(temporary())
    const id = home(file, 'usage.v1')
    file.append(series(id, 0, 900), 1)
    const readers = [3, 50, 130, 499].map((limit) => ({ limit, seen: [] as number[] }))
    while (readers.some(({ seen }) => seen.length < 900)) for (const { limit, seen } of readers) seen.push(...numbers(file.read(id, seen.length, limit, 1e9)))
    for (const { seen } of readers) expect(seen).toEqual(upTo(0, 900))
    // By bytes too, at least one record at a time.
    expect(numbers(file.read(id, 5, 100, 1))).toEqual([5])
    expect(numbers(file.read(id, 5, 100, 500))).toEqual([5, 6, 7])
  })

  it('are gone when their row is, even for a reader that stands in the middle of it', () => {
    const file = opened(temporary())
    const id = home(file, 'usage.v1')
    file.append(series(id, 0, 400), 1_000)
    file.append(series(id, 400, 10), 2_000)
    expect(numbers(file.read(id, 0, 100, 1e9))).toEqual(upTo(0, 100))
    expect(file.expire(id, 1_500)).toBe(true)
    expect(file.expire(id, 1_500)).toBe(false)
    expect(numbers(file.read(id, 100, 1_000, 1e9))).toEqual(upTo(400, 410))
    expect(file.ends().get(id)).toBe(410)
  })

  it('expire in steps of a few megabytes', () => {
    const file = opened(temporary())
    const id = home(file, 'usage.v1')
    const noise = Array.from({ length: 30_000 }, (_, n) => ((n * 2_654_435_761) >>> 0).toString(36)).join('')
    for (let n = 0; n < 60; n++) file.append([{ id, key: null, value: `${n}${noise.slice(n)}` }], 1)
    let steps = 0
    while (file.expire(id, 2)) steps++
    expect(steps).toBeGreaterThan(1)
    expect(countRows(file, id)).toBe(0)
  })

  it('of a compacted topic are superseded one by one', () => {
    const file = opened(temporary())
    const id = home(file, 'progress.v1')
    const keyed = (n: number) => ({ id, key: `k${n % 3}`, value: `{"n":${n}}` })
    file.append(upTo(0, 50).map(keyed), 1)
    file.append([...upTo(50, 60).map(keyed), { id, key: null, value: '{"n":60}' }, keyed(61)], 1)
    while (file.compact(id));
    // 59 is of k2, 61 of k1, 57 of k0; 60 has no key.
    expect(file.read(id, 0, 100, 1e9)).toEqual([57, 59, 60, 61].map((n) => ({ offset: n, value: `{"n":${n}}` })))
    expect(numbers(file.read(id, 58, 100, 1e9))).toEqual([59, 60, 61])
    expect(file.ends().get(id)).toBe(62)
  })

  it('name the place when the disk has spoiled them', () => {
    const directory = temporary()
    const file = opened(directory)
    const id = home(file, 'usage.v1')
    file.append(series(id, 0, 200), 1)
    file.side.prepare('update batches set value = ?').run(Buffer.from('not what was written'))
    expect(() => file.read(id, 0, 10, 1e9)).toThrow(/bus\.sqlite is damaged at offset 0 of partition \d+ .*put back a copy/)
  })
})

describe('an append', () => {
  it('is there wholly or not at all when the process is killed in the middle', async () => {
    const directory = temporary()
    const code = `import { openLogFile } from ${JSON.stringify(join(import.meta.dirname, 'embedded-log.ts'))}
      const f = openLogFile(${JSON.stringify(directory)})
      const text = 'x'.repeat(900)
      for (let n = 0; ; n++) {
        f.append(Array.from({ length: 300 }, (_, at) => ({ id: 1 + (at % 3), key: null, value: JSON.stringify({ append: n, at, text }) })), 1)
        process.stdout.write(n + '\\n')
      }`
    for (let round = 0, before = 0; round < 3; round++) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] })
      onTestFinished(() => void child.kill('SIGKILL'))
      let said = ''
      child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()))
      while (said.split('\n').length < 30 + round * 7) await systemClock.sleep(1)
      child.kill('SIGKILL')
      await new Promise((resolve) => child.on('close', resolve))
      const acknowledged = said.split('\n').length - 1
      const file = openLogFile(directory)
      const db = new DatabaseSync(join(directory, 'bus.sqlite'))
      expect(db.prepare('pragma quick_check').get()).toEqual({ quick_check: 'ok' })
      db.close()
      const ends = [1, 2, 3].map((id) => file.ends().get(id) ?? 0)
      expect(new Set(ends).size).toBe(1)
      expect((ends[0] ?? 0) % 100).toBe(0)
      expect((ends[0] ?? 0) / 100).toBeGreaterThanOrEqual(before + acknowledged)
      for (const id of [1, 2, 3]) {
        const read = file.read(id, before * 100, 1_000_000, 1e9).map(({ value }) => JSON.parse(value) as { append: number; at: number })
        expect(read.map(({ append, at }) => append * 100 + (at - (id - 1)) / 3)).toEqual(upTo(0, (ends[0] ?? 0) - before * 100))
      }
      before = (ends[0] ?? 0) / 100
      file.close()
    }
  }, 60_000)
})
