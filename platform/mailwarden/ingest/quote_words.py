"""What mail programs write above the mail that they quote or forward, in the languages that they speak.

Sources: Gmail, Outlook, Apple Mail, Thunderbird, Yahoo and GMX as they write in English, German, French, Spanish,
Italian, Portuguese, Dutch, Swedish, Danish, Norwegian, Finnish, Polish, Czech, Slovak, Hungarian, Romanian, Turkish,
Russian, Ukrainian, Greek, Japanese, Chinese and Korean.
"""

from __future__ import annotations

from typing import Literal

Label = Literal["from", "date", "to", "cc", "subject"]

_LABELS: dict[Label, str] = {
    "from": """
        from; von; de; da; van; från; fra; od; kimden; gönderen; от; от кого; від; expéditeur; remitente; mittente;
        remetente; afzender; absender; avsändare; afsender; avsender; lähettäjä; feladó; odesílatel; odosielateľ;
        nadawca; expeditor; отправитель; από; 差出人; 送信者; 送信元; 发件人; 發件人; 寄件者; 寄件人;
        보낸 사람; 보낸사람; 보낸이; 발신자
    """,
    "date": """
        sent; date; gesendet; datum; envoyé; envoyé le; le; enviado; enviado el; enviada em; enviado em; fecha; data;
        inviato; verzonden; skickat; sendt; dato; päivämäärä; lähetetty; elküldve; dátum; odesláno; odoslané; wysłano;
        gönderildi; gönderme tarihi; gönderilme tarihi; tarih; отправлено; отправлен; дата; надіслано; trimis; στάλθηκε;
        ημερομηνία; 送信日時; 日付; 日時; 发送时间; 發送時間; 时间; 時間; 日期; 傳送時間; 寄件日期; 보낸 날짜; 보낸날짜;
        보낸 시간; 날짜; 발송일
    """,
    "to": """
        to; an; à; a; para; aan; till; til; do; komu; kime; alıcı; кому; получатель; destinataire; destinatario;
        destinatário; empfänger; ontvanger; mottagare; modtager; mottaker; vastaanottaja; címzett; către; προς; 宛先;
        收件人; 收件者; 受信者; 받는 사람; 받는사람; 받는이; 수신자; 수신인
    """,
    "cc": "cc; kopie; kopia; kopi; copie; copia; cópia; dw; do wiadomości; bilgi; копия; копія; 抄送; 副本; 참조",
    "subject": """
        subject; betreff; objet; asunto; oggetto; assunto; onderwerp; ämne; emne; temat; předmět; predmet; konu; тема;
        aihe; tárgy; subiect; θέμα; 件名; 主题; 主題; 主旨; 제목
    """,
}
LABELS: dict[str, Label] = {word.strip(): kind for kind, words in _LABELS.items() for word in words.split(";")}
"""Words before the colon in a quoted header, in lower case, by what they name."""

LONGEST_LABEL = max(map(len, LABELS))

SAYS = (
    "wrote|writes|said|schrieb|écrit|écrivait|escribió|escribio|scritto|schreef|escreveu|skrev|kirjoitti|napisał"
    "|napisała|napisał\\(a\\)|pisze|napsal|napsala|napsal\\(a\\)|napísal|napísala|napísal\\(a\\)|írta|scris|yazdı"
    "|написал|написала|написал\\(а\\)|пишет|писал|писал\\(а\\)|написав|пише|έγραψε|geschreven|geschrieben"
)
"""Verbs of saying as an attribution has them; in alphabets that part words."""

SAYS_AT_END = (
    "のメール", "は書きました", "が書きました", "さんが書いた", "wrote", "写道", "寫道", "写到", "님이 작성",
    "님이 씀", "작성", "썼습니다", "님의 말",
)  # fmt: skip
"""What ends an attribution where words are not parted."""

SEPARATORS = (
    "original message", "original appointment", "forwarded message", "forwarded by", "reply message",
    "reply separator", "forwarded mail", "forward message", "ursprüngliche nachricht", "urspruengliche nachricht",
    "ursprungliche nachricht", "ursprüngliche mail", "ursprüngliche e-mail", "ursprüngliche email",
    "originalnachricht", "weitergeleitete nachricht", "message d'origine", "message d’origine", "message original",
    "message transféré", "mail original", "courriel original", "mensaje original", "mensaje reenviado",
    "messaggio originale", "messaggio inoltrato", "oorspronkelijk bericht", "origineel bericht",
    "doorgestuurd bericht", "mensagem original", "mensagem encaminhada", "mensagem reencaminhada",
    "ursprungligt meddelande", "originalmeddelande", "vidarebefordrat meddelande", "oprindelig meddelelse",
    "original meddelelse", "videresendt meddelelse", "opprinnelig melding", "videresendt melding",
    "alkuperäinen viesti", "välitetty viesti", "oryginalna wiadomość", "wiadomość oryginalna",
    "wiadomość przekazana", "przekazana wiadomość", "treść przekazanej wiadomości", "původní zpráva",
    "původní e-mail", "přeposlaná zpráva", "pôvodná správa", "eredeti üzenet", "továbbított üzenet",
    "mesaj original", "mesaj redirecționat", "orijinal mesaj", "orijinal ileti", "özgün ileti", "özgün mesaj",
    "yönlendirilen ileti", "yönlendirilmiş mesaj", "iletilen mesaj", "исходное сообщение", "оригинальное сообщение",
    "пересланное сообщение", "пересылаемое сообщение", "переадресованное сообщение", "початкове повідомлення",
    "переслане повідомлення", "αρχικό μήνυμα", "προωθημένο μήνυμα", "元のメッセージ", "転送されたメッセージ",
    "転送メッセージ", "転送元メッセージ", "原始邮件", "原始郵件", "原邮件", "原郵件", "转发邮件", "轉寄郵件",
    "轉發郵件", "转发的邮件", "轉寄的郵件", "已转发邮件", "邮件原件", "원본 메시지", "원본 메일", "원본메일",
    "전달된 메시지", "전달된 메일", "begin forwarded message",
)  # fmt: skip
"""What stands between dashes above a quoted or forwarded message, in lower case."""

OPENINGS = (
    "begin forwarded message", "anfang der weitergeleiteten nachricht", "début du message transféré",
    "début du message réexpédié", "inicio del mensaje reenviado", "inizio messaggio inoltrato",
    "início da mensagem encaminhada", "início da mensagem reencaminhada", "begin doorgestuurd bericht",
    "vidarebefordrat brev", "start på videresendt besked", "videresendt melding",
    "początek przekazywanej wiadomości", "začátek přeposílané zprávy", "iletilen ileti başlangıcı",
    "начало переадресованного сообщения", "転送されたメッセージ", "以下は、転送されたメッセージです",
    "下面是被转发的邮件", "以下是被轉寄的郵件", "전달된 메시지", "välitetty viesti alkaa",
)  # fmt: skip
"""Lines that by themselves stand above a forwarded message, in lower case, without their colon."""
