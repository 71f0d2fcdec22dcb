"""Questions to begin with, in SQL. The README has the same ones, held to these by a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Question:
    """A query with its name."""

    name: str
    sql: str


QUESTIONS = (
    Question(
        "How good was each student?",
        """SELECT run_id, iteration, split, n_correct, n, round(100 * accuracy, 1) AS percent
FROM accuracy_by_iteration ORDER BY run_id, split, iteration""",
    ),
    Question(
        "What was refused, and why?",
        "SELECT run_id, iteration, check_name, reason, n FROM rejections ORDER BY run_id, iteration, n DESC",
    ),
    Question(
        "Which seeds flipped from right to wrong?",
        """SELECT p.run_id, p.iteration, e.id, e.answer, p.predicted_answer, e.question
FROM predictions p
JOIN predictions earlier ON earlier.example_id = p.example_id AND earlier.iteration = p.iteration - 1
JOIN examples e ON e.id = p.example_id
WHERE e.origin = 'seed' AND e.split = 'train' AND earlier.is_correct AND NOT p.is_correct
ORDER BY p.run_id, p.iteration, e.id""",
    ),
    Question(
        "How many of the teacher's replies were of use?",
        """SELECT run_id, iteration, n_failures, n_candidates, n_accepted,
       round(100.0 * n_accepted / n_candidates, 1) AS percent
FROM teacher_yield""",
    ),
    Question(
        "How far can the verifiers be trusted?",
        """SELECT run_id, verifier, n_seeds, n_wrong, round(100 * agreement, 1) AS percent_right_itself,
       printf('%.0f%% (%.0f to %.0f)', 100 * true_accepts, 100 * true_accepts_low, 100 * true_accepts_high)
         AS right_ones_accepted,
       printf('%.0f%% (%.0f to %.0f)', 100 * false_accepts, 100 * false_accepts_low, 100 * false_accepts_high)
         AS wrong_ones_accepted,
       printf('%.0f%% (%.0f to %.0f)', 100 * preference, 100 * preference_low, 100 * preference_high)
         AS right_one_preferred
FROM audits ORDER BY run_id, id""",
    ),
    Question(
        "How was a candidate voted on?",
        """SELECT v.candidate_id, c.verdict, v.answer, v.verifier, v.vote + 1 AS ballot, v.fold, v.said, v.agrees,
       (SELECT round(s.value, 2) FROM json_each(v.scores) s WHERE s.key = v.intended) AS log_probability
FROM votes v JOIN candidates c ON c.id = v.candidate_id
WHERE v.candidate_id = (SELECT max(candidate_id) FROM votes) ORDER BY v.verifier DESC, v.vote""",
    ),
    Question(
        "Which mistakes was the student surest of?",
        """SELECT run_id, iteration, example_id, round(confidence, 3) AS confidence,
       answer, predicted_answer, question
FROM failures ORDER BY confidence DESC LIMIT 20""",
    ),
    Question(
        "Which test rows did the last student get wrong?",
        """SELECT e.id, e.answer, p.predicted_answer, round(p.confidence, 3) AS confidence, e.question
FROM predictions p JOIN examples e ON e.id = p.example_id
WHERE p.split = 'test' AND NOT p.is_correct AND (p.run_id, p.iteration) =
      (SELECT run_id, max(iteration) FROM predictions WHERE run_id = (SELECT max(run_id) FROM predictions))
ORDER BY p.confidence DESC LIMIT 20""",
    ),
    Question(
        "Where did time and tokens go?",
        """SELECT run_id, stage, round(sum(seconds), 1) AS seconds, CASE stage
  WHEN 'train' THEN (SELECT sum(tokens) FROM checkpoints c WHERE c.run_id = s.run_id AND fold = 0)
  WHEN 'fold_train' THEN (SELECT sum(tokens) FROM checkpoints c WHERE c.run_id = s.run_id AND fold > 0)
  WHEN 'predict' THEN
    (SELECT sum(input_tokens + output_tokens) FROM predictions p WHERE p.run_id = s.run_id AND fold = 0)
  WHEN 'fold_predict' THEN
    (SELECT sum(input_tokens + output_tokens) FROM predictions p WHERE p.run_id = s.run_id AND fold > 0)
  WHEN 'augment' THEN
    (SELECT sum(input_tokens + output_tokens) FROM teacher_calls t WHERE t.run_id = s.run_id)
  ELSE sum(ballot_input_tokens + ballot_output_tokens)
END AS tokens
FROM stages s GROUP BY run_id, stage""",
    ),
    Question(
        "How did the loss fall?",
        """SELECT step, round(value, 4) AS loss FROM metrics
WHERE name = 'loss' AND run_id = 1 AND iteration = 0 ORDER BY step""",
    ),
    Question(
        "Which augmented examples came from a seed?",
        """SELECT example_id, failed_iteration, first_trained_iteration, question, answer
FROM lineage WHERE parent_example_id = 1""",
    ),
    Question(
        "Which of the teacher's replies could not be read?",
        "SELECT run_id, iteration, reject_reason, output_text FROM candidates WHERE question IS NULL",
    ),
    Question(
        "What happened in the last run?",
        "SELECT created_at, kind, message FROM events WHERE run_id = (SELECT max(run_id) FROM runs) ORDER BY id",
    ),
)
