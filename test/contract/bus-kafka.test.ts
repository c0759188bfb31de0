import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, describe } from 'vitest'
import type { Bus } from '../../bus/bus.ts'
import { busConfig, type KafkaConfig } from '../../bus/config.ts'
import { createKafkaBus } from '../../bus/kafka.ts'
import { systemClock } from '../../runtime/clock.ts'
import { freshUuid } from '../../runtime/ids.ts'
import { createLogger, silentLogger } from '../../runtime/log.ts'
import { alterTopic, writeForeign } from '../support/kafka/foreign.ts'
import { ensureKafka } from '../support/kafka/kafka.ts'
import { needs } from '../support/needs.ts'
import { describeBusContract, type MakeHarness } from './bus.ts'

let brokers: string[] = []
const log = process.env['BUS_LOG'] === undefined ? silentLogger : createLogger({ level: 'debug' })

const makeHarness: MakeHarness = async ({ retention = {} } = {}) => {
  const prefix = `${freshUuid().slice(0, 8)}.`
  const data_dir = mkdtempSync(join(tmpdir(), 'tokenwatch-bus-'))
  const kept = Object.fromEntries(Object.entries(retention).map(([topic, ms]) => [topic, `${ms}ms`]))
  const given = { kind: 'kafka', brokers, session_timeout: '6s', topics: { prefix, replication: 1 }, retention: kept }
  const config = busConfig.parse(given) as KafkaConfig
  const opened: Bus[] = []
  const open = async () => {
    const bus = createKafkaBus(config, { clock: systemClock, log })
    opened.push(bus)
    return bus
  }
  await (await open()).prepare(AbortSignal.timeout(30_000))
  return {
    open,
    writeRaw: (topic, partition, values) =>
      writeForeign(
        brokers,
        prefix + topic,
        partition,
        values.map((value) => ({ value })),
      ),
    // The broker only looks at closed segments: they are made to close soon.
    sweep: async (topic) => {
      await alterTopic(brokers, prefix + topic, { ...sweeping(topic, retention), 'segment.ms': '200', 'min.cleanable.dirty.ratio': '0.01' })
      await systemClock.sleep(500)
    },
    child: { config: given, data_dir },
    remove: async () => {
      await Promise.all(opened.map((bus) => bus.close()))
      rmSync(data_dir, { recursive: true, force: true })
    },
  }
}

/** Altering replaces all settings of a topic, so those that matter are said again. */
const sweeping = (topic: string, retention: Readonly<Record<string, number>>): Record<string, string> =>
  topic in retention ? { 'cleanup.policy': 'delete', 'retention.ms': String(retention[topic]) } : { 'cleanup.policy': 'compact' }

describe.skipIf(!needs('kafka', 34))('kafka', () => {
  beforeAll(async () => {
    brokers = (await ensureKafka()).brokers
  }, 300_000)
  describeBusContract('kafka', makeHarness)
})
