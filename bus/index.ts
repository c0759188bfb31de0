/** Which bus the config asks for. */
import { join } from 'node:path'
import type { Clock } from '../runtime/clock.ts'
import type { Logger } from '../runtime/log.ts'
import type { Bus } from './bus.ts'
import type { BusConfig } from './config.ts'
import { openEmbeddedBus } from './embedded.ts'
import { createKafkaBus } from './kafka.ts'

/** Throws UsageError when the config cannot work (a missing secret, a file that cannot be opened). Connects to nothing yet. */
export function createBus(config: BusConfig, deps: { data_dir: string; clock: Clock; log: Logger }): Bus {
  const { data_dir, clock, log } = deps
  if (config.kind === 'kafka') return createKafkaBus(config, { clock, log })
  return openEmbeddedBus({ directory: join(data_dir, 'bus'), retention: config.retention }, { clock, log })
}
