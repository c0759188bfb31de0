/**
 * The yardstick: ClickHouse's own Kafka table engine, in process, copying the same topic into the same columns.
 *   node bench/engine.ts <brokers> <topic> <total>
 * Prints one JSON line of samples and memory. A process of its own: the engine of a bench must not share ours.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { Session } from 'chdb'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { cpuMicros, peakMemoryMb, type Sample } from './process-figures.ts'
import { engineColumns } from './engine-columns.ts'

const LIMIT_MS = 60_000
const [brokers = '', topic = '', total = '0'] = process.argv.slice(2)
const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-engine-'))
const session = new Session(directory)
const columns = engineColumns()
const run = (sql: string) => session.queryAsync(sql)

await run('CREATE DATABASE bench')
await run(
  `CREATE TABLE bench.copy (${columns.map(({ name, type }) => `${name} ${type}`).join(', ')}) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(event_time) ORDER BY (toStartOfHour(event_time), event_id)`,
)
// The engine builds a block for each message, and a dictionary for each LowCardinality column of it: with plain strings here, which
// the view then turns into the columns of the table, it is twice as fast. The yardstick is the faster way.
const plain = (type: string) => type.replaceAll(/LowCardinality\((Nullable\(String\)|String)\)/g, '$1')
await run(
  `CREATE TABLE bench.topic (${columns.map(({ name, type }) => `${name} ${plain(type)}`).join(', ')})
   ENGINE = Kafka SETTINGS kafka_broker_list = '${brokers}', kafka_topic_list = '${topic}', kafka_group_name = 'bench-engine-${process.pid}', kafka_format = 'JSONEachRow',
   kafka_num_consumers = 1, kafka_max_block_size = 65536, kafka_flush_interval_ms = 500, input_format_skip_unknown_fields = 1, date_time_input_format = 'basic'`,
)
await run('CREATE MATERIALIZED VIEW bench.pump TO bench.copy AS SELECT * FROM bench.topic')

const samples: Sample[] = []
const deadline = monotonicMs() + LIMIT_MS
for (let events = 0; events < Number(total) && monotonicMs() < deadline; await systemClock.sleep(250)) {
  const answer = await session.queryAsync('SELECT count() AS n FROM bench.copy', { format: 'TSV' })
  events = Number(answer.text())
  samples.push({ at_ms: monotonicMs(), events, cpu_us: cpuMicros(process.pid) })
}
process.stdout.write(`${JSON.stringify({ samples, peak_memory_mb: peakMemoryMb(process.pid) })}\n`)
session.close()
rmSync(directory, { recursive: true, force: true })
process.exit(0)
