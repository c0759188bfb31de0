import { formats } from '../../ingest/formats/index.ts'
import { formatContract } from './format.ts'

for (const entry of formats) formatContract(entry)
