"""What mail systems speak to: a milter, and a content filter by LMTP or SMTP; clients of the scoring API."""
