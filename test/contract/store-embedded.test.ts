/** The store contract over the embedded engine. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { readLimits } from '../../store/config.ts'
import { openEmbeddedStore } from '../../store/embedded.ts'
import { migrate } from '../../store/migrate.ts'
import type { Store } from '../../store/store.ts'
import { describeStoreContract } from './store.ts'
import { describeRead } from './store-read.ts'
import { describeWriter } from './store-writer.ts'

const directory = mkdtempSync(join(tmpdir(), 'store-'))
const deps = { clock: systemClock, log: silentLogger }
const limits = readLimits.parse({ execution_time: '2s', result_rows: 100_000 })
const opened: Store[] = []
const open = async (database: string): Promise<Store> => {
  const store = await openEmbeddedStore({ directory, database, limits }, deps)
  opened.push(store)
  return store
}

describeStoreContract('embedded', { open, close: async () => {} })

describe('the embedded store', () => {
  let store: Store
  beforeAll(async () => {
    store = await open('people')
    await migrate(store, {}, deps)
  })
  afterAll(async () => {
    for (const one of opened) await one.close()
  })

  describeRead('embedded', () => store)
  describeWriter('embedded', () => store)

  it('says what to do when another process has the directory open', () => {
    const script = `
      import { openEmbeddedStore } from ${JSON.stringify(join(import.meta.dirname, '../../store/embedded.ts'))}
      await openEmbeddedStore({ directory: ${JSON.stringify(directory)} }, {}).then(() => console.log('opened'), (error) => console.log(error.message))`
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'ignore'] }).toString()
    expect(output).toContain('another process has it open')
  })

  it('opens again after it was closed, with everything in it', async () => {
    const scratch = await open('scratch')
    await migrate(scratch, {}, deps)
    await scratch.state.put('s', new Map([['k', Buffer.from('v')]]))
    await scratch.close()
    const again = await open('scratch')
    expect(await again.state.get('s', 'k')).toEqual(Buffer.from('v'))
  })
})
