/** What every bus must do, whatever carries it. Both implementations run these same cases. */
import { describe } from 'vitest'
import type { Bus } from '../../bus/bus.ts'
import type { Retention } from '../../bus/embedded-sweep.ts'
import type { TopicName } from '../../schemas/topics.ts'
import { deliveryCases } from './bus-cases-delivery.ts'
import { groupCases } from './bus-cases-groups.ts'
import { logCases } from './bus-cases-log.ts'

export interface BusHarness {
  /** A fresh handle on the same records, as another process would have it. The harness closes all handles. */
  open(): Promise<Bus>
  /** Something else writes text into a partition. */
  writeRaw(topic: TopicName, partition: number, values: readonly string[]): Promise<void>
  /** Makes retention and compaction happen soon; may be called again and again. */
  sweep(topic: TopicName): Promise<void>
  /** What bus-child.ts needs to open the same bus. */
  child: { config: unknown; data_dir: string }
  remove(): Promise<void>
}

/** Each harness has topics of its own, prepared and empty. */
export type MakeHarness = (options?: { retention?: Retention }) => Promise<BusHarness>

export function describeBusContract(name: string, makeHarness: MakeHarness): void {
  describe(`bus contract: ${name}`, () => {
    describe('records', () => logCases(makeHarness))
    describe('delivery', () => deliveryCases(makeHarness))
    describe('groups', () => groupCases(makeHarness))
  })
}
