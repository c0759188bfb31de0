/** Lane B: raw log lines → parsed, redacted, enriched, rated → bus, by `start --role collect` on the embedded bus, per format. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { busConfig } from '../bus/config.ts'
import { createBus } from '../bus/index.ts'
import { monotonicMs, systemClock } from '../runtime/clock.ts'
import { createLogger, silentLogger } from '../runtime/log.ts'
import { chatLine, madeUpKey } from '../test/e2e/log-lines.ts'
import { runTokenwatch } from '../test/support/process.ts'
import { cpuMicros, peakMemoryMb, type Sample, steadyState } from './process-figures.ts'

const LIMIT_MS = 30_000
const log = createLogger({ level: 'info' })

type Lane = { line: (index: number, at: number) => string; extension: string; head?: string; formats: unknown[]; topic: 'usage.v1' | 'secret-access.v1' }

const lanes: Record<string, Lane> = {
  'openai-http': {
    extension: 'jsonl',
    formats: ['openai-http'],
    topic: 'usage.v1',
    line: (n, at) => chatLine({ id: `b${n}`, at, key: madeUpKey(`bench-${n % 40}`), input_tokens: 500 + (n % 900) }),
  },
  cloudtrail: { extension: 'jsonl', formats: ['cloudtrail'], topic: 'secret-access.v1', line: cloudTrailLine },
  mapping: {
    extension: 'csv',
    head: 'time,key,input,output\n',
    formats: [
      {
        mapping: {
          match: { columns: ['time', 'key', 'input', 'output'] },
          fields: {
            provider: { constant: 'openai' },
            operation: { constant: 'chat' },
            event_time: { column: 'time', format: 'iso' },
            api_key_id: { column: 'key' },
            model: { constant: 'gpt-4o-2024-08-06' },
            input_tokens: { column: 'input' },
            output_tokens: { column: 'output' },
          },
        },
      },
    ],
    topic: 'usage.v1',
    line: (n, at) => `${new Date(at).toISOString()},key_${n % 40},${500 + (n % 900)},${40 + (n % 70)}`,
  },
}

export async function laneB(lines: number) {
  const report: Record<string, unknown> = {}
  for (const [name, lane] of Object.entries(lanes)) report[name] = await measure(name, lane, lines)
  return report
}

async function measure(name: string, lane: Lane, lines: number) {
  const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-lane-b-'))
  const from = systemClock.now() - 3_600_000
  const text = Array.from({ length: lines }, (_, n) => lane.line(n, from + n * 10)).join('\n')
  const input = path.join(directory, `lines.${lane.extension}`)
  writeFileSync(input, `${lane.head ?? ''}${text}\n`)
  const file = path.join(directory, 'bench.yaml')
  writeFileSync(file, JSON.stringify({ data_dir: directory, sources: [{ id: 'bench', kind: 'file', paths: [input], follow: true }], formats: lane.formats }))
  const bus = createBus(busConfig.parse({ kind: 'embedded' }), { data_dir: directory, clock: systemClock, log: silentLogger })
  const running = runTokenwatch(['start', '--role', 'collect', '--config', file])
  const pid = running.child.pid ?? 0
  const samples: Sample[] = []
  const deadline = monotonicMs() + LIMIT_MS
  let peak_memory_mb = 0
  for (let events = 0; events < lines && monotonicMs() < deadline; await systemClock.sleep(50)) {
    if (running.child.exitCode !== null) throw new Error(`the collector ended:\n${running.output()}`)
    events = (await bus.end_offsets([lane.topic])).reduce((sum, { offset }) => sum + Number(offset), 0)
    samples.push({ at_ms: monotonicMs(), events, cpu_us: cpuMicros(pid) })
    peak_memory_mb = peakMemoryMb(pid)
  }
  await running.stop()
  await bus.close()
  rmSync(directory, { recursive: true, force: true })
  const figures = { bytes_per_line: Math.round(Buffer.byteLength(text) / lines), ...steadyState(samples, lines), peak_memory_mb }
  log.info(`lane B: ${name}`, figures)
  return figures
}

function cloudTrailLine(n: number, at: number): string {
  const user = `svc-${n % 30}`
  return JSON.stringify({
    eventVersion: '1.09',
    userIdentity: {
      type: 'IAMUser',
      principalId: `AIDA${user}`,
      arn: `arn:aws:iam::111122223333:user/${user}`,
      accountId: '111122223333',
      accessKeyId: `AKIA${String(n % 30).padStart(16, '0')}`,
      userName: user,
    },
    eventTime: new Date(at).toISOString().replace(/\.\d+Z$/, 'Z'),
    eventSource: 'secretsmanager.amazonaws.com',
    eventName: 'GetSecretValue',
    awsRegion: 'eu-central-1',
    sourceIPAddress: `3.120.0.${n % 200}`,
    userAgent: 'aws-sdk-js/3.900.0',
    requestParameters: { secretId: `arn:aws:secretsmanager:eu-central-1:111122223333:secret:prod/llm-${n % 9}` },
    responseElements: null,
    requestID: `request-${n}`,
    eventID: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
    readOnly: true,
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: '111122223333',
    eventCategory: 'Management',
  })
}
