/** The generated documents as text, by path. Everything here comes from the registries, so it cannot disagree with the code. */
import type { Command } from 'commander'
import { z } from 'zod'
import { buildProgram } from '../commands/index.ts'
import { configSchema } from '../config.ts'
import { topicNames, topics } from '../schemas/topics.ts'

interface JsonSchema {
  type?: string | string[]
  description?: string
  default?: unknown
  enum?: unknown[]
  const?: unknown
  properties?: Record<string, JsonSchema>
  additionalProperties?: JsonSchema | boolean
  items?: JsonSchema
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  allOf?: JsonSchema[]
  required?: string[]
}

export function referenceFiles(): Map<string, string> {
  const config = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' })
  const files = new Map([
    ['docs/tokenwatch.schema.json', json({ ...config, title: 'tokenwatch.yaml' })],
    ['docs/reference.md', [HEAD, '## Commands', ...commandDocs(buildProgram()), '## Config', ...configDocs(config as JsonSchema), '## Topics', topicDocs()].join('\n\n') + '\n'],
  ])
  for (const name of topicNames) {
    files.set(`docs/schemas/${name}.json`, json({ $id: `https://tokenwatch.dev/schemas/${name}.json`, title: name, ...z.toJSONSchema(topics[name].schema, { io: 'output' }) }))
  }
  return files
}

const HEAD = `# Reference

Generated from the code by \`npm run generate\`; a test keeps it true. The views of the store carry their own column comments: \`npx tokenwatch query "DESCRIBE TABLE usage"\`.`

const json = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`

function commandDocs(program: Command): string[] {
  return program.commands.flatMap((command) => {
    const children = command.commands.length > 0 ? command.commands.map((child) => `${command.name()} ${usage(child)}`) : [usage(command)]
    const options = (command.commands.length > 0 ? command.commands : [command])
      .flatMap((each) => each.options)
      .filter((option) => !['--config', '--data-dir', '--json'].includes(option.long ?? ''))
    const unique = [...new Map(options.map((option) => [option.flags, option])).values()]
    const table =
      unique.length > 0
        ? [
            '| option | meaning |\n| --- | --- |\n' +
              unique
                .map(
                  (option) =>
                    `| \`${cell(option.flags)}\` | ${cell(option.description)}${option.defaultValue === undefined ? '' : ` (default \`${String(option.defaultValue)}\`)`} |`,
                )
                .join('\n'),
          ]
        : []
    return [`### ${command.name()}`, `${command.description()}.`, '```\n' + children.map((line) => `npx tokenwatch ${line}`).join('\n') + '\n```', ...table]
  })
}

const usage = (command: Command): string => `${command.name()}${command.registeredArguments.map((argument) => ` <${argument.name()}>${argument.variadic ? '…' : ''}`).join('')}`

function configDocs(schema: JsonSchema): string[] {
  const rows: string[] = []
  const walk = (node: JsonSchema, at: string, depth: number): void => {
    for (const branch of [...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])]) walk(branch, at, depth)
    if (node.items) walk(node.items, `${at}[]`, depth)
    if (typeof node.additionalProperties === 'object') walk(node.additionalProperties, `${at}.<name>`, depth)
    for (const [name, child] of Object.entries(node.properties ?? {})) {
      const key = at === '' ? name : `${at}.${name}`
      const line = `| \`${key}\` | ${cell(typeName(child))} | ${cell(child.default === undefined ? '' : `\`${JSON.stringify(child.default)}\``)} | ${cell(child.description ?? '')} |`
      if (!rows.includes(line)) rows.push(line)
      if (depth < 5) walk(child, key, depth + 1)
    }
  }
  walk(schema, '', 0)
  return [
    'An unknown key is an error with a suggestion; secrets are `{env: NAME}` or `{file: PATH}`; durations are `90s`, `15m`, `30d`. The JSON Schema for editors is `docs/tokenwatch.schema.json`.',
    ['| key | type | default | meaning |', '| --- | --- | --- | --- |', ...rows].join('\n'),
  ]
}

function typeName(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' or ')
  const branches = schema.anyOf ?? schema.oneOf
  if (branches) return [...new Set(branches.map(typeName))].join(' or ')
  if (schema.items) return `list of ${typeName(schema.items)}`
  return Array.isArray(schema.type) ? schema.type.join(' or ') : (schema.type ?? 'value')
}

function topicDocs(): string {
  const rows = topicNames.map((name) => {
    const { partitions, retention_ms, cleanup, schema } = topics[name]
    const kept = cleanup === 'compact' ? 'compacted' : retention_ms < 0 ? 'for ever' : `${retention_ms / 86_400_000} days`
    return `| \`${name}\` | ${cell(schema.description ?? '')} | ${partitions} | ${kept} |`
  })
  return [
    'JSON values; the header `schema` holds the name and version. Schemas: `docs/schemas/`.',
    '',
    '| topic | one record is | partitions | kept |',
    '| --- | --- | --- | --- |',
    ...rows,
  ].join('\n')
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ').slice(0, 300)
