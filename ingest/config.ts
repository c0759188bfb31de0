/** The sections of the config that belong to this room. Attribution is in schemas/, the ledger reads it, too. */
import { z } from 'zod'
import { duration } from '../runtime/duration.ts'
import { secretRef } from '../runtime/secrets.ts'

export { formatsConfig } from './formats/index.ts'
export { receiversConfig } from './receivers/index.ts'
export { sourcesConfig } from './sources/index.ts'

export const privacyConfig = z
  .strictObject({
    hash_key: secretRef
      .optional()
      .describe('key of the HMAC that stands for API keys and users; embedded default: made once, in <data_dir>/hash.key. All collectors must share it'),
    truncate_ip: z.enum(['none', '/24+/48']).default('none').describe('/24+/48: keep 24 bits of IPv4 and 48 of IPv6 addresses, after country and network were looked up'),
    user_ids: z
      .enum(['keep', 'hash'])
      .default('keep')
      .describe('hash: user ids become pseudonyms, e-mail addresses in names of actors and owners too, and out of every other text they are cut'),
  })
  .prefault({})
  .describe('what is kept of people and keys')
export type PrivacyConfig = z.infer<typeof privacyConfig>

export const joinConfig = z
  .strictObject({
    wait: duration.prefault('15m').describe('how long one side of a request waits for the other; then it is told with what is known'),
    remember: duration.prefault('24h').describe('how long a request is remembered after its last part: where the other side comes later than that, what was told stays'),
    max_requests: z
      .int()
      .min(100)
      .max(10_000_000)
      .default(100_000)
      .describe('requests that wait, and as many that are remembered, in each partition of fragments.v1; the oldest go first. Up to 2 kB of memory and of the store each'),
  })
  .prefault({})
  .describe('requests that come in parts (Azure API Management): how they are joined by the role collect')
export type JoinConfig = z.infer<typeof joinConfig>

export const geoConfig = z
  .strictObject({
    country_db: z.string().min(1).optional().describe('path of a MaxMind or DB-IP country or city database (.mmdb); default: the one that comes along'),
    asn_db: z.string().min(1).optional().describe('path of a MaxMind or DB-IP ASN database (.mmdb); default: the table that comes along'),
  })
  .prefault({})
  .describe('where countries and networks of addresses come from; always offline')
export type GeoConfig = z.infer<typeof geoConfig>
