-- Takes back 0019.

DROP TABLE span_text_postings;
DROP TABLE span_text_segments;
DROP TABLE span_text_pending;
