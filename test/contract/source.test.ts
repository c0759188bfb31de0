import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { sources } from '../../ingest/sources/index.ts'
import { type SourceHarness, sourceContract } from './source.ts'

const harnesses: Readonly<Record<string, SourceHarness>> = {
  file: {
    holding: async (bodies) => {
      const path = join(await mkdtemp(join(tmpdir(), 'tokenwatch-')), 'records.jsonl')
      await writeFile(path, bodies.map((body) => `${body}\n`).join(''))
      return { paths: [path] }
    },
    missing: async () => ({ paths: [join(tmpdir(), 'tokenwatch-not-there', 'x.jsonl')] }),
  },
}

it('has a harness for every source of the registry', () => {
  expect(Object.keys(harnesses).sort()).toEqual(sources.map((source) => source.id).sort())
})

for (const [id, harness] of Object.entries(harnesses)) sourceContract(id, harness)
