/** The registry of detectors. A new one: a folder under detectors/, one line here and one in config.ts. */
import type { ConfiguredFold, Fold } from '../stream/fold.ts'
import type { RunnerOptions } from '../stream/options.ts'
import type { DetectorsConfig } from './config.ts'
import { geography } from './detectors/geography/index.ts'
import { invalidRequestBurst } from './detectors/invalid-request-burst/index.ts'
import { tokenSpike } from './detectors/token-spike/index.ts'

export const detectors = { 'token-spike': tokenSpike, 'invalid-request-burst': invalidRequestBurst, geography } as const
export type DetectorId = keyof typeof detectors
export const detectorIds = Object.keys(detectors) as DetectorId[]

/** The enabled detectors with their settings, as the keyed runner takes them. */
export const configuredDetectors = (config: DetectorsConfig): ConfiguredFold[] =>
  detectorIds.filter((id) => config[id].enabled).map((id) => ({ spec: asFold(id), config: config[id] }))

/** What the runner takes from the same section. */
export const runnerOptions = ({ lateness, backfill_after, silent_after, snapshot_interval }: DetectorsConfig): Partial<RunnerOptions> => ({
  lateness,
  backfill_after,
  silent_after,
  snapshot_interval,
})

/** The runner hands a fold its own states and only events of its topics: the types meet again inside `step`. */
const asFold = (id: DetectorId): Fold => detectors[id]
