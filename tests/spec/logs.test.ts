import { describe, expect, it } from "vitest";
import { frameVectors, firstProblem, incarnationVectors, logVectors } from "./log-vectors.ts";
import { noteVectors } from "./note-vectors.ts";
import { compareVectors } from "./vector-file.ts";

describe("logs", () => {
  const vectors = logVectors();
  it("are the vectors of spec/vectors/logs.json", () => {
    compareVectors(
      "logs",
      vectors.map(([vector]) => vector),
    );
  });
  it.each(vectors.map(([{ name, expect }, made]) => ({ name, expect, made })))(
    "judges: $name",
    ({ expect: code, made }) => {
      expect(firstProblem(made)).toBe(code);
    },
  );
});

describe("incarnations", () => {
  const vectors = incarnationVectors();
  it("are the vectors of spec/vectors/incarnations.json", () => {
    compareVectors(
      "incarnations",
      vectors.map(([vector]) => vector),
    );
  });
  it.each(vectors.map(([{ name, expect }, made]) => ({ name, expect, made })))(
    "judges: $name",
    ({ expect: code, made }) => {
      expect(firstProblem(made)).toBe(code);
    },
  );
});

describe("frames", () => {
  const { vectors, made } = frameVectors();
  it("are the vectors of spec/vectors/frames.json", () => {
    compareVectors("frames", vectors);
  });
  it.each(vectors.frames)("judges: $name", ({ expect: code, frame }) => {
    expect(firstProblem(made(frame))).toBe(code);
  });
});

describe("commit notes", () => {
  const logs = noteVectors();
  it("are the vectors of spec/vectors/notes.json", () => {
    compareVectors(
      "notes",
      logs.map(({ made: _, ...vectors }) => vectors),
    );
  });
  it.each(logs.flatMap(({ notes, made }) => notes.map((note) => ({ ...note, made }))))(
    "judges: $name",
    ({ expect: code, note, made }) => {
      expect(firstProblem(made(note))).toBe(code);
    },
  );
});
