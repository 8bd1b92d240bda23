/**
 * The end of a migration is an audit event, appended at the next good start. Its id is kept in the record before it is
 * appended, so that a crash between append and record repeats nothing.
 */
import {
  createUuidV7,
  type Holdfast,
  isHoldfastError,
  isMigrationOver,
  type MigrationRecords,
} from "@holdfast/core";
import { systemClock } from "./clock.ts";
import { fromSystem } from "./files.ts";
import { systemRandom } from "./random.ts";

const newId = createUuidV7(systemClock, systemRandom);

/** Records the end of the last migration, once. What cannot be appended now is for the next start. */
export async function recordMigration(records: MigrationRecords, store: Holdfast): Promise<void> {
  try {
    const record = records.read();
    if (record === undefined || !isMigrationOver(record.phase) || record.audit?.told === true) {
      return;
    }
    const id = record.audit?.id ?? newId();
    if (record.audit === undefined) records.write({ ...record, audit: { id, told: false } });
    const { failure, durationMs, records: count, errors } = record;
    const facts = {
      migration: record.id,
      phase: record.phase,
      at: record.changedAt,
      records: count,
      errors,
      duration_ms: durationMs,
      ...(failure === undefined ? {} : { code: failure.code }),
    };
    await store.audit.record({ id, kind: "StoreMigrated", facts });
    records.write({ ...record, audit: { id, told: true } });
  } catch (error) {
    if (!isHoldfastError(fromSystem(error))) throw error;
  }
}
