/** The whole configuration: one zod tree from the rooms' sections. An unknown key is an error with a suggestion. */
import { z } from 'zod'
import { alertsConfig, responsesConfig } from './alert/config.ts'
import { busConfig } from './bus/config.ts'
import { detectorsConfig } from './detect/config.ts'
import { formatsConfig, geoConfig, joinConfig, privacyConfig, receiversConfig, sourcesConfig } from './ingest/config.ts'
import { pricesConfig, retentionConfig } from './ledger/config.ts'
import { secretRef } from './runtime/secrets.ts'
import { attributionConfig } from './schemas/attribution.ts'
import { storeConfig } from './store/config.ts'

const listen = z.string().regex(/^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$/, 'host:port, such as 127.0.0.1:8787')

export const configSchema = z.strictObject({
  data_dir: z.string().min(1).default('.tokenwatch').describe('where the embedded bus and store, the hash key and run.json live; relative to this file'),
  bus: busConfig,
  store: storeConfig,
  sources: sourcesConfig,
  receivers: receiversConfig,
  formats: formatsConfig,
  join: joinConfig,
  attribution: attributionConfig,
  privacy: privacyConfig,
  geo: geoConfig,
  prices: pricesConfig,
  detectors: detectorsConfig,
  alerts: alertsConfig.prefault({}),
  responses: responsesConfig.prefault({}),
  retention: retentionConfig,
  console: z
    .strictObject({
      listen: listen.default('127.0.0.1:8787').describe('any address but this machine needs a token'),
      token: secretRef.optional().describe('bearer token of the API and the page'),
      public_url: z.url().nullable().default(null).describe('where people reach the console; used in links of alerts'),
    })
    .prefault({}),
  log: z.strictObject({ level: z.enum(['debug', 'info', 'warn', 'error']).default('info') }).prefault({}),
  metrics: z.strictObject({ listen: listen.nullable().default(null).describe('health and metrics of a process without the console role; null: none') }).prefault({}),
})
export type Config = z.output<typeof configSchema>
