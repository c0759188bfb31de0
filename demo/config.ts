/** The demo's config as plain data: what a person would write into tokenwatch.yaml to follow these log files. */
import { join } from 'node:path'
import type { DemoAttributionEntry } from './attribution.ts'

export const demoLogDirectory = (data_dir: string): string => join(data_dir, 'logs')

export const demoFiles = ['gateway.jsonl', 'lambda.jsonl', 'workers.jsonl', 'azure-openai.jsonl', 'cloudtrail.jsonl'] as const

/** Embedded bus and store, the log files as sources, the terminal as the only sink, responses in dry run: the defaults, but for what is read and who owns it. */
export function demoConfig({ data_dir, attribution }: { data_dir: string; attribution: readonly DemoAttributionEntry[] }): Record<string, unknown> {
  return {
    data_dir,
    sources: [{ id: 'demo', kind: 'file', paths: demoFiles.map((file) => join(demoLogDirectory(data_dir), file)), follow: true, poll: '500ms' }],
    formats: ['openai-http', 'cloudtrail'],
    attribution,
    responses: { policy: 'dry-run' },
  }
}
