import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { onCluster, readMigrations } from './migrate.ts'
import { codeOf, splitStatements } from './sql.ts'

const all = readMigrations(join(import.meta.dirname, 'migrations'))
const statements = all.flatMap(({ name, sql }) => splitStatements(sql).map((text) => ({ name, text, code: codeOf(text).replaceAll(/\s+/g, ' ').trim() })))

// What may run twice, and in two processes at once, without a difference.
const REPEATABLE =
  /^(CREATE (TABLE|VIEW|MATERIALIZED VIEW|DICTIONARY|FUNCTION|DATABASE) IF NOT EXISTS|CREATE OR REPLACE (TABLE|VIEW|DICTIONARY|FUNCTION)|ALTER TABLE \S+ (ADD (COLUMN|INDEX|CONSTRAINT|PROJECTION) IF NOT EXISTS|DROP (COLUMN|INDEX|CONSTRAINT|PROJECTION) IF EXISTS|MODIFY |COMMENT )|DROP (TABLE|VIEW|DICTIONARY|FUNCTION) IF EXISTS)/

describe('migrations', () => {
  it('come in order: store first, then ledger, by number', () => {
    const names = all.map(({ name }) => name)
    expect(names[0]).toBe('store-0001-usage-events.sql')
    const store = names.filter((name) => name.startsWith('store-'))
    expect(names.slice(0, store.length)).toEqual(store.toSorted())
    expect(names.slice(store.length)).toEqual(names.slice(store.length).toSorted())
  })

  it.each(statements.map(({ name, text, code }) => [`${name}: ${code.slice(0, 60)}`, text, code]))('can be repeated: %s', (_, text, code) => {
    expect(code).toMatch(REPEATABLE)
    expect(text).toContain('{database}')
  })
})

describe('onCluster', () => {
  it('names the cluster and replicates, for everything that creates', () => {
    expect(onCluster('-- why\nCREATE TABLE IF NOT EXISTS w.t\n(\n a UInt8\n)\nENGINE = ReplacingMergeTree(v)\nORDER BY a', 'main')).toBe(
      '-- why\nCREATE TABLE IF NOT EXISTS w.t ON CLUSTER `main`\n(\n a UInt8\n)\nENGINE = ReplicatedReplacingMergeTree(v)\nORDER BY a',
    )
    expect(onCluster('CREATE OR REPLACE VIEW w.v AS SELECT 1', 'main')).toBe('CREATE OR REPLACE VIEW w.v ON CLUSTER `main` AS SELECT 1')
    expect(onCluster('CREATE MATERIALIZED VIEW IF NOT EXISTS w.m TO w.t AS SELECT 1', 'main')).toBe(
      'CREATE MATERIALIZED VIEW IF NOT EXISTS w.m ON CLUSTER `main` TO w.t AS SELECT 1',
    )
    expect(onCluster('SELECT 1', undefined)).toBe('SELECT 1')
    for (const { text } of statements) expect(onCluster(text.replaceAll('{database}', 'w'), 'main')).toContain('ON CLUSTER `main`')
  })
})
