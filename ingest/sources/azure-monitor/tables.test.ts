import { describe, expect, it } from 'vitest'
import { tableConfig, tableQuery } from './tables.ts'

const steps = (kql: string) => tableQuery(tableConfig.parse({ table: 'Audit', kql })).steps

describe('own KQL', () => {
  it.each([
    ['a division', '| extend rate = DurationMs / 1000', ['extend rate = DurationMs / 1000']],
    ['a verbatim text', String.raw`| where Path matches regex @'\d+|x' | where Path != @"C:\"`, [String.raw`where Path matches regex @'\d+|x'`, String.raw`where Path != @"C:\"`]],
    ['a verbatim text with quotes in it', String.raw`| where Path != @"a""|b" | where x == 1`, [String.raw`where Path != @"a""|b"`, 'where x == 1']],
    ['a step behind a verbatim text that ends in a backslash', String.raw`| where a != @"C:\" | where b == "x"`, [String.raw`where a != @"C:\"`, 'where b == "x"']],
    ['escapes', String.raw`where a == "x\"|y" | where b == 'it\'s | so'`, [String.raw`where a == "x\"|y"`, String.raw`where b == 'it\'s | so'`]],
    ['an address with two slashes in a text, and a comment', '| where u startswith "https://x" // only ours\n| where b == 1', ['where u startswith "https://x"', 'where b == 1']],
  ])('keeps %s as it is written', (_name, kql, wanted) => {
    expect(steps(kql)).toEqual(wanted)
  })

  it('lets nothing that changes the number of rows hide behind a verbatim text', () => {
    expect(tableConfig.safeParse({ table: 'Audit', kql: String.raw`| where a != @"\" | summarize count() by b, c = "x"` }).success).toBe(false)
  })
})
