import type { Command } from 'commander'
import { createBus } from '../bus/index.ts'
import { isoTime } from '../runtime/clock.ts'
import { messageOf, UsageError } from '../runtime/errors.ts'
import type { Reject } from '../schemas/rejects.ts'
import { topics, type TopicName, topicNames } from '../schemas/topics.ts'
import { loadUsedContext } from './context.ts'
import { command, type GlobalOptions, group, print, table } from './program.ts'
import { openReader } from './reader.ts'

interface RejectRow {
  reject_id: string
  received_at: string
  source: string
  source_stream: string
  stage: string
  reason: string
  size_bytes: string
  detail: string
}

export const rejectsCommand = (): Command => group('rejects', 'records that were refused, with the reason').addCommand(list()).addCommand(retry())

const list = (): Command =>
  command('list', 'the newest refused records')
    .option('--limit <n>', 'how many', '50')
    .action(async (options: GlobalOptions & { limit: string }) => {
      const reader = await openReader(loadUsedContext(options, 'store'))
      try {
        const limit = positive(options.limit, '--limit')
        const rows = await reader.rows<RejectRow>(
          `SELECT reject_id, received_at, source, source_stream, stage, reason, size_bytes, detail FROM rejects ORDER BY received_at DESC LIMIT ${limit}`,
        )
        print(options, rows, () =>
          rows.length === 0
            ? 'no rejects'
            : table(
                ['received', 'stage', 'reason', 'bytes', 'stream', 'detail'],
                rows.map((row) => [row.received_at, row.stage, row.reason, row.size_bytes, row.source_stream, row.detail]),
              ),
        )
      } finally {
        await reader.close()
      }
    })

const retry = (): Command =>
  command('retry', 'sends refused events of ours again (a foreign body is not kept: ingest its file again)')
    .option('--reason <reason>', 'only rejects with this reason')
    .action(async (options: GlobalOptions & { reason?: string }) => {
      const context = loadUsedContext(options, 'bus')
      const bus = createBus(context.config.bus, context)
      try {
        const found = new Map<string, Reject>()
        let without_payload = 0
        await bus.replay(
          'rejects.v1',
          (batch) => {
            for (const reject of batch.records) {
              if (options.reason !== undefined && reject.reason !== options.reason) continue
              if (reject.payload === null || reject.topic === null) without_payload += 1
              else found.set(reject.reject_id, reject)
            }
          },
          new AbortController().signal,
        )
        const outcome = { sent: 0, still_refused: 0, without_payload }
        for (const reject of found.values()) {
          if (await publishAgain(bus, reject)) outcome.sent += 1
          else outcome.still_refused += 1
        }
        print(
          options,
          outcome,
          () => `${outcome.sent} sent again, ${outcome.still_refused} still not valid, ${outcome.without_payload} without a kept event (ingest their source again)`,
        )
      } finally {
        await bus.close()
      }
    })

async function publishAgain(bus: ReturnType<typeof createBus>, reject: Reject): Promise<boolean> {
  const topic = topicNames.find((name) => name === reject.topic)
  if (topic === undefined) return false
  try {
    const value = topics[topic].schema.parse(JSON.parse(reject.payload ?? 'null'))
    await bus.publish<TopicName>(topic, [value])
    return true
  } catch (error) {
    process.stderr.write(`${isoTime(reject.received_at)} ${reject.reason}: ${messageOf(error)}\n`)
    return false
  }
}

export function positive(text: string, option: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`${option} takes a whole number from 1, not "${text}"`)
  return value
}
