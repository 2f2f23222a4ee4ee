## Die Startseite: hinter dem Link, und wo man einen neuen bekommt.
ready-title = Ihre Familie hat Ihnen geschrieben
ready-text = Tippen Sie auf den Knopf, um zu lesen und zu antworten. Ohne Passwort, und ohne etwas zu installieren.
open = Nachrichten öffnen
opening = Wird geöffnet…
dead-title = Dieser Link gilt nicht mehr
dead-text = Er wurde auf einem anderen Telefon benutzt oder ist zu alt. Sie können einen neuen bekommen.
renew = Neuen Link per SMS
renewing = Einen Moment…
renewed = Ist unterwegs. Er geht an die Nummer, die wir von Ihnen haben: Achten Sie auf eine neue SMS.
ask-title = Lesen Sie die Nachrichten Ihrer Familie
ask-text = Geben Sie Ihre Handynummer ein. Wir schicken Ihnen per SMS einen Link, der die Nachrichten öffnet.
locked-title = Bitte öffnen Sie die Nachrichten neu
locked-text = Dieses Telefon ist abgemeldet, oder Sie gehören nicht mehr zu dieser Unterhaltung. Wir können Ihnen einen neuen Link per SMS schicken.
phone = Ihre Handynummer
phone-hint = Beginnen Sie mit + und der Landesvorwahl, zum Beispiel +49 151 23456789.
phone-wrong = Die Nummer ist nicht vollständig. Beginnen Sie mit + und der Landesvorwahl.
ask = Link per SMS schicken
asked = Wenn wir diese Nummer kennen, ist eine SMS unterwegs.
ask-again = Andere Nummer eingeben
offline = Keine Verbindung. Prüfen Sie Ihr Netz und versuchen Sie es noch einmal.
busy = Im Moment ist sehr viel los. Bitte versuchen Sie es gleich noch einmal.
again = Noch einmal versuchen
no-script = Diese Seite braucht JavaScript. Bitte schalten Sie es in Ihrem Browser ein, oder öffnen Sie den Link in einem anderen Browser.
error-title = Das hat gerade nicht geklappt
error-text = Es ist nichts verloren. Bitte versuchen Sie es gleich noch einmal.

## Die Unterhaltung.
messages = Nachrichten
family-chat = Familienchat
direct-message = Direktnachricht
you = Sie
you-too = Sie
separator = { ", " }
today = Heute
yesterday = Gestern
fresh = Neue Nachrichten
earlier = Frühere Nachrichten
loading = Wird geladen…
empty = Noch keine Nachrichten. Schreiben Sie die erste.
former-member = Ehemaliges Mitglied
deleted = Diese Nachricht wurde gelöscht.
edited = bearbeitet
files = { $n ->
    [one] Eine Datei
   *[other] { $n } Dateien
}
answer = Ihre Antwort
send = Senden
sending = Wird gesendet…
unsent = Noch nicht gesendet
unsent-why = Noch nicht gesendet. Das geschieht, sobald das Netz wieder da ist.
retry = Jetzt senden
refused = Das wurde nicht gesendet.
left = Noch { $n } Zeichen
too-long = { $n } Zeichen zu lang
lost = Keine Verbindung. Neue Nachrichten erscheinen, sobald das Netz wieder da ist.

## Das Menü.
menu = Menü
members = In dieser Unterhaltung
less = Weniger SMS bekommen
texts-on = Sie bekommen eine SMS, wenn hier jemand schreibt.
texts-until = Keine SMS von hier bis: { $time }.
texts-muted = Keine SMS aus dieser Unterhaltung.
texts-off = Gar keine SMS, aus keiner Unterhaltung.
texts-none = Wir haben keine Handynummer von Ihnen, deshalb bekommen Sie keine SMS.
mute-hours = 8 Stunden lang nicht
mute = Keine SMS aus dieser Unterhaltung
stop = Gar keine SMS mehr
stop-sure = Sie bekämen von niemandem mehr eine SMS. Zum Lesen müssten Sie von selbst hierherkommen.
stop-yes = Ja, keine SMS mehr
resume = Wieder SMS bekommen
sign-out = Auf diesem Telefon abmelden
sign-out-sure = Um zurückzukommen, brauchen Sie einen neuen Link per SMS. Noch nicht gesendete Nachrichten gehen verloren.
sign-out-yes = Ja, abmelden
no = Nein, zurück
signed-out = Sie sind abgemeldet
signed-out-text = Auf diesem Telefon sind die Nachrichten nicht mehr zu lesen. Wir können Ihnen einen neuen Link per SMS schicken.
