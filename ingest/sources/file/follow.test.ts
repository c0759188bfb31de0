import { appendFile, mkdtemp, rename, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import type { Clock } from '../../../runtime/clock.ts'
import { silentLogger } from '../../../runtime/log.ts'
import type { Page } from '../../source.ts'
import { follow } from './follow.ts'
import type { FileCheckpoint } from './identity.ts'

let path: string
beforeEach(async () => {
  path = join(await mkdtemp(join(tmpdir(), 'tokenwatch-')), 'app.log')
})

/** Reads until the script is done: a step runs at each look that found nothing new; the bodies read so far come back. */
async function tail(steps: (() => Promise<void>)[], after?: FileCheckpoint): Promise<{ bodies: string[]; pages: Page<FileCheckpoint>[] }> {
  const stop = new AbortController()
  const left = [...steps]
  let now = 1_000
  const clock: Clock = {
    now: () => now,
    sleep: async (ms) => {
      now += ms
      const step = left.shift()
      if (step === undefined) stop.abort()
      else await step()
    },
  }
  const pages: Page<FileCheckpoint>[] = []
  const options = { clock, log: silentLogger, container: 'auto', poll_ms: 1_000 } as const
  for await (const page of follow(path, after, options, stop.signal)) pages.push(page)
  return { bodies: pages.flatMap(({ records }) => records.map(({ body }) => body)), pages }
}

describe('following a file', () => {
  it('reads what is appended, and no line before its end is there', async () => {
    await writeFile(path, '{"n":1}\n{"n":')
    const { bodies } = await tail([() => appendFile(path, '2'), () => appendFile(path, '}\n{"n":3}\n')])
    expect(bodies).toEqual(['{"n":1}', '{"n":2}', '{"n":3}'])
  })

  it('says at each look how far it has read: never beyond the begin of the look', async () => {
    await writeFile(path, '{"n":1}\n')
    const { pages } = await tail([() => appendFile(path, '{"n":2}\n')])
    const idle = pages.filter((page) => page.records.length === 0)
    expect(idle.map((page) => page.scanned_to)).toEqual([1_000, 2_000])
    expect(pages.every((page) => page.done !== true)).toBe(true)
  })

  it('goes on from a checkpoint, in the middle of the file', async () => {
    await writeFile(path, '{"n":1}\n')
    const { pages } = await tail([])
    await appendFile(path, '{"n":2}\n')
    expect((await tail([], pages.at(-1)?.next)).bodies).toEqual(['{"n":2}'])
  })

  it('survives rotation by renaming, with a last line in the old file', async () => {
    await writeFile(path, '{"n":1}\n')
    const { bodies } = await tail([
      async () => {
        await appendFile(path, '{"n":2}\n{"n":3}')
        await rename(path, `${path}.1`)
        await writeFile(path, '{"n":4}\n')
      },
      async () => appendFile(path, '{"n":5}\n'),
    ])
    expect(bodies).toEqual(['{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}', '{"n":5}'])
  })

  it('waits while the path is empty between rename and creation', async () => {
    await writeFile(path, '{"n":1}\n')
    const { bodies } = await tail([() => rename(path, `${path}.1`), async () => {}, () => writeFile(path, '{"n":2}\n')])
    expect(bodies).toEqual(['{"n":1}', '{"n":2}'])
  })

  it('finds the rest of a file that was rotated while nobody watched, and what was rotated after it', async () => {
    await writeFile(path, '{"n":1}\n')
    const { pages } = await tail([])
    await appendFile(path, '{"n":2}\n')
    await rename(path, `${path}.2`)
    await writeFile(path, '{"n":3}\n')
    await rename(path, `${path}.1`)
    await writeFile(path, '{"n":4}\n')
    expect((await tail([], pages.at(-1)?.next)).bodies).toEqual(['{"n":2}', '{"n":3}', '{"n":4}'])
  })

  it('survives truncation (copytruncate), to zero and to other content of the same length', async () => {
    await writeFile(path, '{"n":1}\n{"n":2}\n')
    const shrunk = await tail([() => truncate(path, 0), () => appendFile(path, '{"n":3}\n')])
    expect(shrunk.bodies).toEqual(['{"n":1}', '{"n":2}', '{"n":3}'])
    await writeFile(path, '{"n":1}\n')
    const rewritten = await tail([() => writeFile(path, '{"n":7}\n{"n":8}\n')])
    expect(rewritten.bodies).toEqual(['{"n":1}', '{"n":7}', '{"n":8}'])
  })

  it('follows CSV: the header names the cells of rows that come later', async () => {
    await writeFile(path, 'a,b\n1,2\n')
    const first = await tail([() => appendFile(path, '3,4\n')])
    expect(first.bodies).toEqual(['{"a":"1","b":"2"}', '{"a":"3","b":"4"}'])
    await appendFile(path, '5,6\n')
    expect((await tail([], first.pages.at(-1)?.next)).bodies).toEqual(['{"a":"5","b":"6"}'])
  })

  it('follows an empty file from its first line on', async () => {
    await writeFile(path, '')
    expect((await tail([() => appendFile(path, '{"n"'), () => appendFile(path, ':1}\n')])).bodies).toEqual(['{"n":1}'])
  })
})
