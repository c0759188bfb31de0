/** Scalars that every contract shares. Nothing here knows a topic. */
import { z } from 'zod'

/** UTC instant in whole milliseconds since 1970 (OCSF `timestamp_t`; ClickHouse DateTime64(3) takes it as is). */
export const epochMs = z.int().min(0).max(4_102_444_800_000)

/** Whole number of tokens, requests, bytes …; never negative, at most 2^53-1. Missing is null, never 0. */
export const count = z.int().nonnegative()

/** US dollars as a decimal string with at most 12 decimals (pico-dollars): "0.000004200000". Never a JSON number. */
export const usd = z.string().regex(/^-?\d{1,26}(\.\d{1,12})?$/, 'a decimal string with at most 12 decimals')

/** A UUID in lower case; ours are name-based (see runtime/ids.ts), so the same record gives the same id for ever. */
export const uuid = z.string().regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, 'a lower-case uuid')

/** A short text that came from outside: redacted and without control characters before it gets here. */
export const label = z.string().max(1024)

export const severity = z.enum(['info', 'low', 'medium', 'high', 'critical'])
export type Severity = z.infer<typeof severity>
