/** What is noted of an event that this release cannot read. */

/** An event with a header of a newer version, by its frozen fields. */
export interface NewerEvent {
  readonly device: string;
  readonly incarnation: string;
  readonly index: number;
  readonly leaf: string;
  readonly v: number;
  readonly scope: string;
  readonly stream: string;
  /** Place in the shard. */
  readonly position: number;
}
