/** kill -9 around the insert: nothing is lost and nothing counts twice. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { usageSample } from './store-samples.ts'

const EVENTS = 6000

describe('the writer, killed', () => {
  it.each(['writer.before-insert:3', 'writer.after-insert:2'])(
    'at %s, stores each event once after a restart',
    async (point) => {
      const data_dir = mkdtempSync(join(tmpdir(), 'killed-'))
      const bus = openEmbeddedBus({ directory: join(data_dir, 'bus') }, { clock: systemClock, log: silentLogger })
      const events = Array.from({ length: EVENTS }, (_, id) => usageSample(id, { api_key_id: `fp_${id % 50}`, input_tokens: id }))
      for (let at = 0; at < EVENTS; at += 500) await bus.publish('usage.v1', events.slice(at, at + 500))
      await bus.close()
      const run = (crash: string) =>
        spawnSync(process.execPath, [join(import.meta.dirname, 'store-child.ts'), data_dir], {
          env: { ...process.env, TOKENWATCH_CRASH_AT: crash },
          timeout: 60_000,
          encoding: 'utf8',
        })
      expect(run(point).signal).toBe('SIGKILL')
      const again = run('')
      expect(again.stdout, again.stderr).toContain(`drained {"events":"${EVENTS}","tokens":"${(EVENTS * (EVENTS - 1)) / 2}"}`)
      expect(again.status).toBe(0)
    },
    150_000,
  )
})
