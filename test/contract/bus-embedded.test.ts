import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { busConfig } from '../../bus/config.ts'
import { type EmbeddedBus, openEmbeddedBus } from '../../bus/embedded.ts'
import { openLogFile } from '../../bus/embedded-log.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { describeBusContract, type MakeHarness } from './bus.ts'

const makeHarness: MakeHarness = async ({ retention } = {}) => {
  const data_dir = mkdtempSync(join(tmpdir(), 'tokenwatch-bus-'))
  const directory = join(data_dir, 'bus')
  const opened: EmbeddedBus[] = []
  const open = async () => {
    const bus = openEmbeddedBus({ directory, retention }, { clock: systemClock, log: silentLogger })
    opened.push(bus)
    return bus
  }
  return {
    open,
    writeRaw: async (topic, partition, values) => {
      const file = openLogFile(directory)
      const home = file.partitions.find((at) => at.topic === topic && at.partition === partition)
      file.append(
        values.map((value) => ({ id: home?.id ?? 0, key: null, value })),
        systemClock.now(),
      )
      file.close()
    },
    sweep: async () => (await open()).sweep(),
    child: { config: busConfig.parse({ kind: 'embedded' }), data_dir },
    remove: async () => {
      await Promise.all(opened.map((bus) => bus.close()))
      rmSync(data_dir, { recursive: true, force: true })
    },
  }
}

describeBusContract('embedded', makeHarness)
