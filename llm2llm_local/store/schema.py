"""The tables and views, as numbered migrations. A released migration is never edited: add another.

Table, view and column names are a contract, since people query them. Times are UTC, ISO 8601; `seconds`
are wall time. Foreign keys are enforced. `PRAGMA user_version` holds the number of migrations, so that
readers can tell a newer store without any package.
"""

from __future__ import annotations

import json
import sqlite3

from sqlite_utils import Database, Migrations

migrations = Migrations("llm2llm_local")

_TABLES = (
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        sha256 TEXT NOT NULL UNIQUE,          -- identity: the same content is the same model wherever it lies
        kind TEXT NOT NULL,                   -- gguf | folder
        name TEXT NOT NULL,
        path TEXT NOT NULL,                   -- where it was when first used
        architecture TEXT NOT NULL,
        quantization TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        context_length INTEGER NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE runs (
        run_id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, since adapters lie in runs/<run_id>/
        status TEXT NOT NULL,
        status_detail TEXT NOT NULL,          -- what a person should know about the status; '' when nothing
        config_name TEXT NOT NULL,            -- the file beside the store
        overrides TEXT NOT NULL,              -- JSON list of the --set arguments
        config TEXT NOT NULL,                 -- JSON: dotted field name -> value, defaults filled in
        fingerprint TEXT NOT NULL,            -- sha256 over all that can change a result
        fingerprint_fields TEXT NOT NULL,     -- JSON: what went into it, so that a difference can be named
        rng_seed INTEGER NOT NULL,
        labels TEXT NOT NULL,                 -- JSON list; [] when the task has no label set
        teacher_model_id INTEGER NOT NULL REFERENCES models(id),
        student_model_id INTEGER NOT NULL REFERENCES models(id),
        forked_from_run_id INTEGER,           -- no foreign key: the origin may be deleted
        created_at TEXT NOT NULL,
        finished_at TEXT
    ) STRICT""",
    """CREATE TABLE iterations (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        status TEXT NOT NULL,
        created_at TEXT NOT NULL,
        finished_at TEXT,
        UNIQUE (run_id, iteration)
    ) STRICT""",
    """CREATE TABLE stages (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        stage TEXT NOT NULL,                  -- train | predict | grade | augment | check
        attempt INTEGER NOT NULL,             -- augment and check: the round of asking; otherwise 0
        fingerprint TEXT NOT NULL,
        fingerprint_fields TEXT NOT NULL,     -- JSON, as in runs
        status TEXT NOT NULL,
        units_total INTEGER NOT NULL,
        units_done INTEGER NOT NULL,          -- units have a fixed order: the first units_done are complete
        seconds REAL NOT NULL,                -- wall time of the complete units
        created_at TEXT NOT NULL,
        finished_at TEXT,
        UNIQUE (run_id, iteration, stage, attempt)
    ) STRICT""",
    """CREATE TABLE examples (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        key TEXT NOT NULL,                    -- identity within the run; all randomness about it derives from it
        split TEXT NOT NULL,                  -- train | dev | test
        origin TEXT NOT NULL,                 -- seed | augmented
        question TEXT NOT NULL,
        answer TEXT NOT NULL,
        source TEXT,                          -- file and line of a row of the person's data
        line INTEGER,
        parent_example_id INTEGER REFERENCES examples(id),
        candidate_id INTEGER REFERENCES candidates(id),
        iteration INTEGER,                    -- augmented: the iteration that made it; it trains from the next on
        created_at TEXT NOT NULL,
        UNIQUE (run_id, key)
    ) STRICT""",
    """CREATE TABLE training_set_examples (
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        example_id INTEGER NOT NULL REFERENCES examples(id),
        position INTEGER NOT NULL,
        PRIMARY KEY (run_id, iteration, position),
        UNIQUE (run_id, iteration, example_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE checkpoints (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        step INTEGER NOT NULL,                -- optimizer steps done
        total_steps INTEGER NOT NULL,
        path TEXT,                            -- relative to the workspace; NULL once a later one replaced it
        sha256 TEXT NOT NULL,                 -- of the folder's files: names and contents
        tokens INTEGER NOT NULL,              -- unpadded training tokens since the checkpoint before
        seconds REAL NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (run_id, iteration, step)
    ) STRICT""",
    """CREATE TABLE predictions (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        example_id INTEGER NOT NULL REFERENCES examples(id),
        split TEXT NOT NULL,
        output_text TEXT NOT NULL,
        predicted_answer TEXT,
        outcome TEXT NOT NULL,                -- correct | wrong | truncated | unparsed
        is_correct INTEGER NOT NULL,
        confidence REAL,                      -- probability of the predicted label among all labels
        finish_reason TEXT NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (run_id, iteration, example_id)
    ) STRICT""",
    """CREATE TABLE teacher_calls (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        example_id INTEGER NOT NULL REFERENCES examples(id),   -- the failure it is about
        attempt INTEGER NOT NULL,
        slot INTEGER NOT NULL,                -- which of the wanted examples, from 0
        model_id INTEGER NOT NULL REFERENCES models(id),
        prompt TEXT NOT NULL,                 -- JSON: the messages, or the text to continue
        sampling TEXT NOT NULL,               -- JSON
        rng_seed INTEGER NOT NULL,
        output_text TEXT NOT NULL,
        finish_reason TEXT NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (run_id, iteration, example_id, attempt, slot)
    ) STRICT""",
    """CREATE TABLE candidates (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        key TEXT NOT NULL,                    -- the key of the example it becomes when accepted
        teacher_call_id INTEGER NOT NULL REFERENCES teacher_calls(id),
        parent_example_id INTEGER NOT NULL REFERENCES examples(id),
        question TEXT,                        -- NULL when the reply could not be parsed
        answer TEXT,
        output_text TEXT NOT NULL,
        verdict TEXT NOT NULL,                -- pending | accept | doubt | reject: of all checks together
        reject_reason TEXT,
        created_at TEXT NOT NULL,
        UNIQUE (run_id, key)
    ) STRICT""",
    """CREATE TABLE verdicts (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        candidate_id INTEGER NOT NULL REFERENCES candidates(id),
        check_name TEXT NOT NULL,             -- format | duplicate | leak
        verdict TEXT NOT NULL,                -- accept | doubt | reject
        reason TEXT NOT NULL,                 -- the same words for the same kind of defect
        detail TEXT NOT NULL,
        score REAL,
        created_at TEXT NOT NULL,
        UNIQUE (candidate_id, check_name)
    ) STRICT""",
    """CREATE TABLE reviews (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        candidate_id INTEGER NOT NULL REFERENCES candidates(id),
        decision TEXT NOT NULL,               -- accept | reject | withdraw (the checks' verdict stands), by a person
        question TEXT,                        -- as edited; NULL: unchanged
        answer TEXT,
        created_at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE metrics (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER NOT NULL,
        name TEXT NOT NULL,                   -- loss, accuracy_train, accuracy_dev, accuracy_test, truncated_test …
        step INTEGER NOT NULL,                -- optimizer step of a loss; 0 for figures of an iteration
        value REAL NOT NULL,
        created_at TEXT NOT NULL,
        UNIQUE (run_id, iteration, name, step)
    ) STRICT""",
    """CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        iteration INTEGER,
        kind TEXT NOT NULL,
        message TEXT NOT NULL,
        created_at TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE commands (
        id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
        command TEXT NOT NULL,                -- pause | resume | stop
        status TEXT NOT NULL,
        created_at TEXT NOT NULL,
        handled_at TEXT
    ) STRICT""",
)

_INDEXES = (
    "CREATE INDEX examples_by_origin ON examples (run_id, split, origin, iteration)",
    "CREATE INDEX examples_by_parent ON examples (parent_example_id)",
    "CREATE INDEX examples_by_candidate ON examples (candidate_id)",
    "CREATE INDEX training_sets_by_example ON training_set_examples (example_id, iteration)",
    "CREATE INDEX predictions_by_split ON predictions (run_id, iteration, split, is_correct)",
    "CREATE INDEX predictions_by_example ON predictions (example_id, iteration)",
    "CREATE INDEX teacher_calls_by_example ON teacher_calls (example_id, iteration)",
    "CREATE INDEX candidates_by_verdict ON candidates (run_id, iteration, verdict)",
    "CREATE INDEX candidates_by_parent ON candidates (parent_example_id, iteration)",
    "CREATE INDEX candidates_by_call ON candidates (teacher_call_id)",
    "CREATE INDEX verdicts_by_run ON verdicts (run_id, iteration, verdict, check_name)",
    "CREATE INDEX reviews_by_candidate ON reviews (candidate_id)",
    "CREATE INDEX reviews_by_run ON reviews (run_id)",
    "CREATE INDEX events_by_run ON events (run_id, id)",
    "CREATE INDEX commands_by_run ON commands (run_id, status)",
)

_VIEWS = (
    # The training examples that a student got wrong. With loop.augment_from = "all" these are augmented ones too.
    """CREATE VIEW failures AS
    SELECT p.run_id, p.iteration, p.example_id, e.question, e.answer, p.predicted_answer, p.confidence
    FROM predictions p JOIN examples e ON e.id = p.example_id
    WHERE p.split = 'train' AND p.is_correct = 0""",
    """CREATE VIEW lineage AS
    SELECT e.run_id, e.id AS example_id, e.question, e.answer, e.candidate_id, c.teacher_call_id,
           e.parent_example_id, parent.question AS parent_question, c.iteration AS failed_iteration,
           p.predicted_answer,
           (SELECT min(t.iteration) FROM training_set_examples t WHERE t.example_id = e.id) AS first_trained_iteration
    FROM examples e
    JOIN candidates c ON c.id = e.candidate_id
    JOIN examples parent ON parent.id = e.parent_example_id
    LEFT JOIN predictions p ON p.example_id = parent.id AND p.iteration = c.iteration""",
    # Seeds only, so that the figure of split 'train' means the same whatever else was predicted.
    """CREATE VIEW accuracy_by_iteration AS
    SELECT p.run_id, p.iteration, p.split, count(*) AS n, sum(p.is_correct) AS n_correct,
           avg(p.is_correct) AS accuracy
    FROM predictions p JOIN examples e ON e.id = p.example_id
    WHERE e.origin = 'seed'
    GROUP BY p.run_id, p.iteration, p.split""",
    """CREATE VIEW rejections AS
    SELECT run_id, iteration, check_name, reason, count(*) AS n
    FROM verdicts WHERE verdict = 'reject'
    GROUP BY run_id, iteration, check_name, reason""",
    """CREATE VIEW teacher_yield AS
    SELECT i.run_id, i.iteration,
           (SELECT count(*) FROM predictions p WHERE p.run_id = i.run_id AND p.iteration = i.iteration
            AND p.split = 'train' AND p.is_correct = 0) AS n_failures,
           count(c.id) AS n_candidates,
           count(c.id) FILTER (WHERE c.verdict = 'accept') AS n_accepted,
           count(c.id) FILTER (WHERE c.verdict = 'reject') AS n_rejected,
           count(c.id) FILTER (WHERE c.verdict = 'doubt') AS n_doubt
    FROM iterations i LEFT JOIN candidates c ON c.run_id = i.run_id AND c.iteration = i.iteration
    GROUP BY i.run_id, i.iteration""",
)


@migrations()
def m001_first_release(db: Database) -> None:
    for statement in (*_TABLES, *_INDEXES, *_VIEWS):
        db.execute(statement)


@migrations()
def m002_reviews_progress_and_search(db: Database) -> None:
    for statement in (
        # Share of the stage that is done, that of the unit in progress included: a sign of life, about once a second.
        "ALTER TABLE stages ADD COLUMN progress REAL NOT NULL DEFAULT 0",
        "UPDATE stages SET progress = iif(units_total, 1.0 * units_done / units_total, 1)",
        # Of a training that goes on: a JSON array, one loss for each step since the last checkpoint; NULL: none.
        "ALTER TABLE stages ADD COLUMN losses_since_checkpoint TEXT",
        # Which training set a person's decision is first part of; NULL: none yet. The newest row of a candidate counts.
        "ALTER TABLE reviews ADD COLUMN applied_iteration INTEGER",
        # Why a decision was not carried out (a label that there isn't, a test question, a later decision); NULL: it
        # was, or is still to be.
        "ALTER TABLE reviews ADD COLUMN refused_reason TEXT",
        # The decision that made an example; NULL: the checks accepted it as it was.
        "ALTER TABLE examples ADD COLUMN review_id INTEGER REFERENCES reviews(id)",
        # A person's decision keeps an example out of the training sets from this iteration on.
        "ALTER TABLE examples ADD COLUMN removed_iteration INTEGER",
        "CREATE INDEX examples_by_review ON examples (review_id) WHERE review_id IS NOT NULL",
        "CREATE INDEX reviews_to_apply ON reviews (run_id, candidate_id) WHERE applied_iteration IS NULL",
        # What a person filters candidates by, in the order in which they are shown.
        "CREATE INDEX candidates_by_run ON candidates (run_id, id)",
        "CREATE INDEX candidates_by_run_verdict ON candidates (run_id, verdict, id)",
        "CREATE INDEX candidates_by_reason ON candidates (run_id, reject_reason, id)",
        "CREATE INDEX candidates_by_answer ON candidates (run_id, answer, id)",
        "CREATE INDEX stages_by_run ON stages (run_id, id)",
        # Substrings of three characters and more, in scripts without blanks between words, too.
        """CREATE VIRTUAL TABLE candidates_search USING fts5(
            question, answer, output_text, content = candidates, content_rowid = id, tokenize = 'trigram')""",
        "INSERT INTO candidates_search (candidates_search) VALUES ('rebuild')",
        """CREATE TRIGGER candidates_searched_insert AFTER INSERT ON candidates BEGIN
            INSERT INTO candidates_search (rowid, question, answer, output_text)
            VALUES (new.id, new.question, new.answer, new.output_text);
        END""",
        """CREATE TRIGGER candidates_searched_delete AFTER DELETE ON candidates BEGIN
            INSERT INTO candidates_search (candidates_search, rowid, question, answer, output_text)
            VALUES ('delete', old.id, old.question, old.answer, old.output_text);
        END""",
    ):
        db.execute(statement)


@migrations()
def m003_plans(db: Database) -> None:
    for statement in (
        # How a run's models share the device. The newest row of a run is in force; the part that can change a reply,
        # `teacher`, is the same in all of them unless memory ran out.
        """CREATE TABLE plans (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
            reason TEXT NOT NULL,                 -- why this row was written
            teacher TEXT NOT NULL,                -- JSON: layers, sequences, cache, bytes, and why each is so
            memory TEXT NOT NULL,                 -- JSON: what both need, what was free, and what follows
            summary TEXT NOT NULL,                -- JSON list of lines: the same in words
            created_at TEXT NOT NULL
        ) STRICT""",
        "CREATE INDEX plans_by_run ON plans (run_id, id)",
    ):
        db.execute(statement)


@migrations()
def m004_verification(db: Database) -> None:
    for statement in (
        # Training without a fold of the seeds (1, 2 …), for answers to seeds that the student hasn't seen; 0: with all.
        """CREATE TABLE checkpoints_with_folds (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
            iteration INTEGER NOT NULL,
            fold INTEGER NOT NULL DEFAULT 0,
            step INTEGER NOT NULL,                -- optimizer steps done
            total_steps INTEGER NOT NULL,
            path TEXT,                            -- relative to the workspace; NULL once a later one replaced it
            sha256 TEXT NOT NULL,                 -- of the folder's files: names and contents
            tokens INTEGER NOT NULL,              -- unpadded training tokens since the checkpoint before
            seconds REAL NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (run_id, iteration, fold, step)
        ) STRICT""",
        """INSERT INTO checkpoints_with_folds
            SELECT id, run_id, iteration, 0, step, total_steps, path, sha256, tokens, seconds, created_at
            FROM checkpoints""",
        "DROP TABLE checkpoints",
        "ALTER TABLE checkpoints_with_folds RENAME TO checkpoints",
        # Which fold's student made the prediction, one that hasn't seen the seed; 0: the iteration's own student.
        "ALTER TABLE predictions ADD COLUMN fold INTEGER NOT NULL DEFAULT 0",
        # Probability of the gold answer among all labels; NULL where answers are written.
        "ALTER TABLE predictions ADD COLUMN gold_confidence REAL",
        # What verifiers said: of a candidate, or in the audit of a seed with its right answer or a planted one.
        """CREATE TABLE votes (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
            iteration INTEGER NOT NULL,
            candidate_id INTEGER REFERENCES candidates(id),
            example_id INTEGER REFERENCES examples(id),   -- the audited seed
            answer TEXT NOT NULL,                 -- the one that is voted on
            is_planted INTEGER NOT NULL,          -- audit: a wrong answer in place of the seed's own
            verifier TEXT NOT NULL,               -- teacher | student
            fold INTEGER NOT NULL,                -- of the student; 0: the teacher
            vote INTEGER NOT NULL,                -- from 0; each shows other seeds in another order
            said TEXT,                            -- the verifier's own answer; NULL: none could be read
            scores TEXT,                          -- JSON: choice -> log-probability among all of them; NULL: it wrote
            intended TEXT,                        -- the choice that speaks for the answer
            agrees INTEGER,                       -- of what was written: whether it is the answer
            output_text TEXT NOT NULL,
            created_at TEXT NOT NULL,
            CHECK ((candidate_id IS NULL) != (example_id IS NULL))
        ) STRICT""",
        "CREATE UNIQUE INDEX votes_by_candidate ON votes (candidate_id, verifier, vote) WHERE candidate_id IS NOT NULL",
        "CREATE INDEX votes_by_run ON votes (run_id, example_id)",
        "CREATE UNIQUE INDEX votes_by_example ON votes (example_id, answer, verifier, vote) "
        "WHERE example_id IS NOT NULL",
        # What the audit measured on the seeds: of each verifier alone, and of those together that judge candidates.
        """CREATE TABLE audits (
            id INTEGER PRIMARY KEY,
            run_id INTEGER NOT NULL REFERENCES runs(run_id) ON DELETE CASCADE,
            verifier TEXT NOT NULL,               -- teacher | student | together
            n_seeds INTEGER NOT NULL,
            n_planted INTEGER NOT NULL,           -- wrong answers, of all seeds
            agreement REAL,                       -- share of seeds to which the verifier itself gives the right answer
            true_accepts REAL NOT NULL,           -- share of right answers that verification accepts
            true_accepts_low REAL NOT NULL,       -- with its 95% interval
            true_accepts_high REAL NOT NULL,
            false_accepts REAL NOT NULL,          -- share of planted answers that it accepts, with its 95% interval
            false_accepts_low REAL NOT NULL,
            false_accepts_high REAL NOT NULL,
            preference REAL NOT NULL,             -- how often the right answer beats a planted one; 0.5: no information
            preference_low REAL NOT NULL,
            preference_high REAL NOT NULL,
            calibration TEXT NOT NULL,            -- JSON: intercept, weight and bias of each verifier
            created_at TEXT NOT NULL,
            UNIQUE (run_id, verifier)
        ) STRICT""",
        # An accepted candidate drawn for a person to look at, whatever the checks say.
        "ALTER TABLE candidates ADD COLUMN is_audited INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX candidates_audited ON candidates (run_id, id) WHERE is_audited",
    ):
        db.execute(statement)


@migrations()
def m005_audit_of_mistakes(db: Database) -> None:
    for statement in (
        "ALTER TABLE audits RENAME COLUMN n_planted TO n_wrong",
        # Seeds whose wrong answers verifiers wrote themselves; for the others, which are planted, there was no mistake.
        "ALTER TABLE audits ADD COLUMN n_mistaken_seeds INTEGER NOT NULL DEFAULT 0",
        # Share of these mistakes that verification accepts, with its 95% interval; NULL where there are none, and in
        # audits of before, which have them in false_accepts alone.
        "ALTER TABLE audits ADD COLUMN mistake_accepts REAL",
        "ALTER TABLE audits ADD COLUMN mistake_accepts_low REAL",
        "ALTER TABLE audits ADD COLUMN mistake_accepts_high REAL",
    ):
        db.execute(statement)


@migrations()
def m006_tokens_of_ballots(db: Database) -> None:
    for statement in (
        # What the teacher read and wrote to vote, prompts and choices counted whole; NULL in stages that ask for no
        # votes, and in those begun before this was recorded.
        "ALTER TABLE stages ADD COLUMN ballot_input_tokens INTEGER",
        "ALTER TABLE stages ADD COLUMN ballot_output_tokens INTEGER",
    ):
        db.execute(statement)


@migrations()
def m007_leaning_of_each_ballot(db: Database) -> None:
    """Until then all ballots of a verifier had one: each gets it. Students have one vote."""
    audits = db.query("SELECT a.id, a.calibration, r.config FROM audits a JOIN runs r ON r.run_id = a.run_id")
    for audit in list(audits):
        calibration, n_votes = json.loads(audit["calibration"]), json.loads(audit["config"]).get("checks.votes", 1)
        for verifier, leaning in calibration.get("biases", {}).items():
            calibration["biases"][verifier] = [leaning] * (1 if verifier == "student" else n_votes)
        text = json.dumps(calibration, ensure_ascii=False)
        db.execute("UPDATE audits SET calibration = ? WHERE id = ?", [text, audit["id"]])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the store up to date; a no-op when it is. Each migration is a transaction of its own."""
    database = Database(connection)
    if migrations.pending(database):
        migrations.apply(database)
    applied = len(migrations.applied(database))
    if connection.execute("PRAGMA user_version").fetchone()[0] != applied:
        connection.execute(f"PRAGMA user_version = {applied}")
