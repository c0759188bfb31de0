/** What CloudTrail and the model invocation log of Bedrock have in common, so that both give one event. */
import { nameUuid } from '../../runtime/ids.ts'
import { asLabel } from './json.ts'

/** CloudTrail's requestID is the invocation log's requestId; one request id covers one operation. */
export const bedrockEventId = (requestId: string, operation: string): string => nameUuid('aws.bedrock', requestId, operation)

const GEOGRAPHY = /^(us|eu|apac|us-gov|jp|au|ca|global)\./

/** The model id without the ARN around it and without the geography of an inference profile, which is not part of a price. */
export function bedrockModel(modelId: unknown): string | null {
  const label = asLabel(modelId, 512)
  if (label === null) return null
  const name = label.startsWith('arn:') ? label.slice(label.lastIndexOf('/') + 1) : label
  return name.replace(GEOGRAPHY, '') || null
}
