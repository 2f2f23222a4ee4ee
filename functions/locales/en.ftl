## The landing page: behind a link, and where a new one is requested.
ready-title = Your family wrote to you
ready-text = Tap the button to read and to answer. There is no password, and nothing to install.
open = Open the messages
opening = Opening…
dead-title = This link no longer works
dead-text = It has been used on another phone, or it is too old. You can have a new one.
renew = Text me a fresh link
renewing = One moment…
renewed = On its way. It goes to the number we have for you: look for a new text.
ask-title = Read your family’s messages
ask-text = Enter your mobile number. We will text you a link that opens the messages.
locked-title = Please open the messages again
locked-text = This phone is signed out, or you are no longer in this conversation. We can text you a fresh link.
phone = Your mobile number
phone-hint = Begin with + and your country code, for example +1 555 010 0001.
phone-wrong = That number is not complete. Begin with + and your country code.
ask = Text me a link
asked = If we know this number, a text is on its way.
ask-again = Use another number
offline = There is no connection. Check your network, then try again.
busy = It is very busy just now. Please try again in a moment.
again = Try again
no-script = This page needs JavaScript. Please switch it on in your browser, or open the link in another browser.
error-title = That did not work just now
error-text = Nothing is lost. Please try again in a moment.

## The thread.
messages = Messages
family-chat = Family Chat
direct-message = Direct message
you = You
you-too = you
separator = { ", " }
today = Today
yesterday = Yesterday
fresh = New messages
earlier = Earlier messages
loading = Loading…
empty = No messages yet. Write the first one.
former-member = Former member
deleted = This message was deleted.
edited = edited
files = { $n ->
    [one] One file
   *[other] { $n } files
}
answer = Your answer
send = Send
sending = Sending…
unsent = Not sent yet
unsent-why = Not sent yet. It will be sent when the network is back.
retry = Send now
refused = This was not sent.
left = Characters left: { $n }
too-long = Too long by { $n }
lost = No connection. New messages will appear when the network is back.

## The menu.
menu = Menu
members = In this conversation
less = Text me less
texts-on = You get a text when somebody writes here.
texts-until = No texts from here until { $time }.
texts-muted = No texts from this conversation.
texts-off = No texts at all, from any conversation.
texts-none = We have no mobile number for you, so you get no texts.
mute-hours = Not for 8 hours
mute = No texts from this conversation
stop = No texts at all
stop-sure = You would get no more texts, from anybody. To read, you would have to come here yourself.
stop-yes = Yes, stop all texts
resume = Text me again
sign-out = Sign out on this phone
sign-out-sure = To come back, you will need a new link by text. Messages that are not sent yet will be lost.
sign-out-yes = Yes, sign out
no = No, go back
signed-out = You are signed out
signed-out-text = The messages can no longer be read on this phone. We can text you a fresh link.
