/**
 * Real recorded data through the front door, `npx tokenwatch ingest`, in a process of its own: totals to the last token, the same
 * after a second time and after files cut differently, and no prompt or completion anywhere in what we keep.
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { needs } from '../support/needs.ts'
import { runToEnd } from '../support/process.ts'

const field_data = path.resolve(process.env['FIELD_DATA'] ?? '../shared/field-data')
const has_data = needs('field-data')
const fresh = (name: string) => mkdtempSync(path.join(tmpdir(), `tokenwatch-${name}-`))

interface Summary {
  records: number
  accepted: number
  skipped: Record<string, number>
  rejected: Record<string, number>
  events: { usage: number; secret_access: number; credential_change: number }
  duplicates: number
  alerts: number
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((total, count) => total + count, 0)

async function ingest(data_dir: string, files: readonly string[], ...more: string[]): Promise<Summary> {
  const { code, stdout, stderr } = await runToEnd(['ingest', ...files, '--json', '--data-dir', data_dir, ...more])
  expect(code, stderr).toBe(0)
  const summary = JSON.parse(stdout) as Summary
  expect(summary.records).toBe(summary.accepted + sum(summary.skipped) + sum(summary.rejected))
  return summary
}

async function rows<R>(data_dir: string, sql: string): Promise<R[]> {
  const { code, stdout, stderr } = await runToEnd(['query', sql, '--format', 'JSONEachRow', '--data-dir', data_dir])
  expect(code, stderr).toBe(0)
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as R)
}

/** The trace in pieces that do not follow its files' ends: seven rows, then the rest; a header each. */
function cutDifferently(file: string, directory: string): string[] {
  const [head = '', ...lines] = readFileSync(file, 'utf8').split('\n')
  const at = [0, 7, Math.floor(lines.length / 3), lines.length]
  return at.slice(1).map((end, index) => {
    const piece = path.join(directory, path.basename(file).replace('.csv', `.part${index}.csv`))
    writeFileSync(piece, [head, ...lines.slice(at[index], end)].join('\n'))
    return piece
  })
}

describe.skipIf(!has_data)('field data through the front door', () => {
  const azure = ['code', 'conv'].map((name) => path.join(field_data, 'azure-llm-2023', `AzureLLMInferenceTrace_${name}.csv`))
  const totals = 'SELECT sum(requests) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output, toString(sum(cost_usd)) AS cost FROM spend_daily'
  const teams =
    'SELECT team_id, service, sum(requests) AS requests, sum(input_tokens) AS input, sum(output_tokens) AS output, toString(sum(cost_usd)) AS cost FROM spend_daily GROUP BY ALL ORDER BY ALL'

  it('Azure trace: every request and token, once, however often and however cut', { timeout: 240_000 }, async () => {
    const data_dir = fresh('azure')
    const config = ['--config', 'examples/azure-llm-trace.yaml']
    const first = await ingest(data_dir, azure, ...config)
    expect(first).toMatchObject({ records: 28_185, accepted: 28_185, duplicates: 0, events: { usage: 28_185, secret_access: 0, credential_change: 0 } })
    const expected = [{ requests: '28185', input: '40421844', output: '4334561' }]
    expect(await rows(data_dir, totals)).toMatchObject(expected)
    const per_team = await rows<{ team_id: string; requests: string }>(data_dir, teams)
    expect(per_team.map(({ team_id, requests }) => [team_id, requests])).toEqual([
      ['code', '8819'],
      ['conv', '19366'],
    ])
    expect(await ingest(data_dir, azure, ...config)).toMatchObject({ accepted: 28_185, duplicates: 28_185 })
    const pieces = azure.flatMap((file) => cutDifferently(file, data_dir))
    expect(await ingest(data_dir, pieces, ...config)).toMatchObject({ accepted: 28_185, duplicates: 28_185 })
    expect(await rows(data_dir, totals)).toMatchObject(expected)
    expect(await rows(data_dir, teams)).toEqual(per_team)
  })

  it('detonations: the counts of their README', { timeout: 120_000 }, async () => {
    const data_dir = fresh('detonations')
    const folder = path.join(field_data, 'cloudtrail-detonations')
    const summary = await ingest(
      data_dir,
      readdirSync(folder).map((file) => path.join(folder, file)),
    )
    expect(sum(summary.rejected)).toBe(0)
    const operations = await rows<{ provider_operation: string; n: string }>(data_dir, 'SELECT provider_operation, count() AS n FROM secret_access GROUP BY ALL ORDER BY ALL')
    const count = Object.fromEntries(operations.map(({ provider_operation, n }) => [provider_operation, Number(n)]))
    expect(count).toMatchObject({ GetSecretValue: 20, ListSecrets: 1, BatchGetSecretValue: 5, GetParameters: 5, DescribeParameters: 5 })
    expect(await rows(data_dir, "SELECT operation, provider, count() AS n, countIf(usage_source = 'absent') AS unmetered FROM usage_events FINAL GROUP BY ALL")).toMatchObject([
      { provider: 'aws.bedrock', n: '1', unmetered: '1' },
    ])
  })

  it('exchanges: all accounted for, and no prompt or completion in bus, store or log', { timeout: 240_000 }, async () => {
    const data_dir = fresh('exchanges')
    const file = path.join(field_data, 'openai-exchanges', 'exchanges.jsonl')
    const run = await runToEnd(['ingest', file, '--json', '--data-dir', data_dir])
    expect(run.code, run.stderr).toBe(0)
    const summary = JSON.parse(run.stdout) as Summary
    expect(summary.records).toBe(953)
    expect(summary.accepted + sum(summary.skipped) + sum(summary.rejected)).toBe(953)
    expect(summary.events.usage).toBeGreaterThan(400)

    const tables = await rows<{ name: string }>(data_dir, "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
    let kept = run.stdout + run.stderr
    for (const { name } of tables) kept += (await runToEnd(['query', `SELECT * FROM ${name}`, '--format', 'JSONEachRow', '--data-dir', data_dir])).stdout
    for (const name of readdirSync(path.join(data_dir, 'bus'))) kept += readFileSync(path.join(data_dir, 'bus', name)).toString('latin1')
    expect(kept).toContain('chatcmpl-') // the haystack is the real one
    const leaked = contents(file).filter((text) => kept.includes(text))
    expect(leaked).toEqual([])
  })
})

/** What people and models said in the exchanges: the first 30 characters of every string below content-like names. */
function contents(file: string): string[] {
  const found = new Set<string>()
  const visit = (value: unknown, inside: boolean): void => {
    if (typeof value === 'string') {
      const text = JSON.stringify(value).slice(1, -1).slice(0, 30)
      if (inside && text.length >= 20 && text.includes(' ')) found.add(text)
    } else if (Array.isArray(value)) value.forEach((item) => visit(item, inside))
    else if (value !== null && typeof value === 'object')
      for (const [name, item] of Object.entries(value))
        visit(item, inside || /^(content|text|prompt|input|instructions|messages|arguments|refusal|summary|description)$/.test(name))
  }
  for (const line of readFileSync(file, 'utf8').split('\n')) if (line !== '') visit(JSON.parse(line), false)
  expect(found.size).toBeGreaterThan(200)
  return [...found]
}
