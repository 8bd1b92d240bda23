/**
 * Faults between a store and SQLite: a driver decorator that fails chosen statements, before they run or
 * after they did.
 */
import {
  type SqliteDriver,
  type SqlStatement,
  type SqlValue,
  storageFailure,
} from "@holdfast/core";

/** One planned fault of a statement or of an opening. */
export interface Fault {
  /** Statements that fail. */
  readonly sql: RegExp;
  /** `before`: nothing happened; `after`: it happened, and the error says otherwise. */
  readonly when: "before" | "after";
  /** Result code as SQLite names it. */
  readonly result: string;
  /** How many times; default once. */
  readonly times?: number;
  /** Only once a statement like this has run: tells one COMMIT from another. */
  readonly afterSql?: RegExp;
}

/** The faults to come; one value serves every connection to a store. */
export interface FaultPlan {
  plan(fault: Fault): void;
  /** Lets the next opening of a connection fail with that result code, so many times. */
  planOpening(result: string, times: number): void;
  /** Ends all faults. */
  heal(): void;
  /** Connections opened so far. */
  readonly opened: number;
  /** Opens a connection through the plan. */
  over(open: () => SqliteDriver): SqliteDriver;
}

/** Plans faults of a driver: which statement fails, before or after it runs. */
export function createFaultPlan(): FaultPlan {
  let faults: { readonly fault: Fault; left: number; armed: boolean }[] = [];
  let opening = { result: "", left: 0 };
  let opened = 0;

  function run<T>(sql: string, work: () => T): T {
    const hit = faults.find(({ fault, left, armed }) => armed && left > 0 && fault.sql.test(sql));
    for (const planned of faults)
      if (planned.fault.afterSql?.test(sql) === true) planned.armed = true;
    if (hit === undefined) return work();
    hit.left -= 1;
    if (hit.fault.when === "after") work();
    throw storageFailure(hit.fault.result, new Error("planned fault"));
  }

  function statementOver(sql: string, statement: SqlStatement): SqlStatement {
    return {
      run: (...values) => run(sql, () => statement.run(...values)),
      get: <Row>(...values: readonly SqlValue[]) => run(sql, () => statement.get<Row>(...values)),
      all: <Row>(...values: readonly SqlValue[]) => run(sql, () => statement.all<Row>(...values)),
    };
  }

  return {
    plan(fault) {
      faults.push({ fault, left: fault.times ?? 1, armed: fault.afterSql === undefined });
    },
    planOpening(result, times) {
      opening = { result, left: times };
    },
    heal() {
      faults = [];
      opening = { result: "", left: 0 };
    },
    get opened() {
      return opened;
    },
    over(open) {
      if (opening.left > 0) {
        opening.left -= 1;
        throw storageFailure(opening.result, new Error("planned fault"));
      }
      const driver = open();
      opened += 1;
      return {
        capabilities: driver.capabilities,
        get inTransaction() {
          return driver.inTransaction;
        },
        prepare: (sql) => statementOver(sql, driver.prepare(sql)),
        exec(sql) {
          run(sql, () => {
            driver.exec(sql);
          });
        },
        close() {
          driver.close();
        },
      };
    },
  };
}
